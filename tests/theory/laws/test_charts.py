import math

import numpy as np
import pytest

from isometry.theory.laws.charts import Chart
from isometry.theory.laws.piecewise import evaluate


def test_a_chart_runs_from_its_edge_to_the_split():
    soft = Chart(edge=-2.0, split=1.0)
    np.testing.assert_allclose(soft.t(np.array([0.0, 0.5, 1.0])), [-2.0, -1.25, 1.0])
    hard = Chart(edge=-math.inf, split=1.0, decay=0.5)
    np.testing.assert_allclose(hard.t(np.array([math.exp(-1), 1.0])), [-1.0, 1.0])


@pytest.mark.parametrize("chart", [Chart(0.0, 2.0), Chart(-math.inf, 2.0, decay=0.25)])
def test_the_series_through_the_nodes_is_the_function(chart):
    def smooth(v):
        return 1 + v**2 if chart.soft else np.exp(-v)

    side, last = chart.side(smooth(chart.nodes(32)))
    v = np.linspace(0.01, 1, 33)
    np.testing.assert_allclose(evaluate(side.density, v), smooth(v), rtol=1e-9)
    assert last < 1e-12
