import math

import numpy as np
import pytest

from isometry.errors import ConvergenceError
from isometry.theory.laws.charts import Chart, tabulate
from isometry.theory.laws.free_product import Layers
from isometry.theory.laws.piecewise import evaluate
from isometry.theory.laws.tables import NODES, quadrature


def layers(d, weights, counts, skip2):
    return Layers(np.array(d), np.array(weights), np.array(counts), skip2)


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


# e_l of theory.md (33): which power of lam the density of log lam decays with at a hard edge
KINDS = {
    "soft": ([[0.1]], [[1.0]], [4.0], 1.0, 0.0, 1),
    "three layers without a skip": ([[1.0]], [[1.0]], [3.0], 0.0, 1 / 4, 1),
    "one atom without a skip": ([[0.0, 2.0]], [[0.5, 0.5]], [1.0], 0.0, 0.0, 1),
    "three equal atoms": ([[0.0, 2.0]], [[0.5, 0.5]], [3.0], 0.0, 1 / 3, 1),
    "two large layers": ([[3.0]], [[1.0]], [2.0], 1.0, 1 / 3, 1),
    "one critical layer": ([[1.0]], [[1.0]], [1.0], 1.0, 1 / 3, 2),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_the_lower_edge_is_of_the_kind_of_the_theory(kind):
    *arguments, decay, order = kind
    shape = tabulate(layers(*arguments))
    assert shape.decay == pytest.approx(decay)
    assert shape.left.order == order
    assert math.isinf(shape.lower) == (decay > 0)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_mass_and_mean_are_those_of_the_product(kind):
    group = layers(*kind[:4])
    t, weights = quadrature(tabulate(group), NODES)
    assert weights.sum() == pytest.approx(1 - group.atom.max(), abs=1e-8)
    assert weights @ np.exp(t) == pytest.approx(math.exp(group.log_mean()), rel=1e-8)


def test_a_density_that_diverges_inside_is_refused():
    with pytest.raises(ConvergenceError, match=r"mass|reached|edge"):
        tabulate(layers([[1e-6, 5.0]], [[0.5, 0.5]], [1.0], 1.0))
