import numpy as np
import pytest

from isometry.theory.laws import ProductLaw

BLOCK = np.array([1.0, 30.0]), np.array([0.5, 0.5])
NEAR_ONE = np.array([0.8, 1.0, 1.25]), np.full(3, 1 / 3)


@pytest.fixture(scope="module")
def law():
    return ProductLaw([BLOCK, NEAR_ONE])


def test_quantiles_invert_the_distribution_over_both_intervals(law):
    p = np.linspace(0.01, 0.99, 25)
    np.testing.assert_allclose(law.cdf(law.icdf(p)), p, atol=1e-9)
    np.testing.assert_allclose(law.cdf(law.icdf(p)) + law.ccdf(law.icdf(p)), 1, atol=1e-12)


def test_the_gap_has_no_density_and_a_flat_distribution(law):
    lam = np.array([2.0, 5.0, 20.0])
    np.testing.assert_array_equal(law.pdf(lam), 0.0)
    np.testing.assert_allclose(law.cdf(lam), 0.5, atol=1e-9)


def test_quantiles_at_0_and_1_are_the_edges(law):
    np.testing.assert_allclose(law.icdf([0.0, 1.0]), law.support())


def test_the_density_integrates_to_the_distribution(law):
    lam = np.linspace(*law.support(), 200_001)[1:-1]
    total = np.trapezoid(law.pdf(lam), lam)
    assert total == pytest.approx(1, abs=2e-3)


def test_an_atom_inside_an_interval_is_a_step_of_the_distribution():
    wide = np.array([0.2, 1.0, 5.0]), np.array([0.2, 0.6, 0.2])
    law = ProductLaw([wide, wide])
    (place,), (weight,) = law.atoms()
    assert (place, weight) == (pytest.approx(1.0), pytest.approx(0.2))
    step = law.cdf(1.0) - law.cdf(1 - 1e-12)
    assert step == pytest.approx(0.2, abs=1e-6)
    p = np.linspace(0.45, 0.55, 5)
    np.testing.assert_allclose(law.icdf(p), 1.0)
