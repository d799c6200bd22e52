import math

import numpy as np
import pytest

from cases_laws import POINTS

every_point = pytest.mark.parametrize("law", POINTS.values(), ids=POINTS.keys())


@every_point
def test_a_point_mass_is_an_atom_and_a_step(law):
    (place,), (weight,) = law.atoms()
    assert weight == 1
    assert law.support() == (place, place)
    np.testing.assert_array_equal(law.cdf([0.99 * place, place, 2 * place]), [0, 1, 1])
    np.testing.assert_array_equal(law.ccdf([0.99 * place, place, 2 * place]), [1, 0, 0])
    np.testing.assert_array_equal(law.pdf([0.99 * place, place, np.inf]), 0)
    np.testing.assert_array_equal(law.icdf([0, 0.5, 1]), place)
    assert law.mean() == pytest.approx(place)
    assert law.variance() == pytest.approx(0, abs=1e-15)
    assert law.log_mean() == pytest.approx(math.log(place))
    assert law.log_variance() == pytest.approx(0, abs=1e-15)
    assert law.condition_number() == 1
    assert law.cauchy_transform(1j) == pytest.approx(1 / (1j - place))
    assert law.sample(rng=np.random.default_rng(0)) == place
