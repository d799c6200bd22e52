import numpy as np
import pytest

from isometry.theory.laws.factors import Factors


def pair(weights, *, ratios=(1.0, 1.0), spaces=(1.0,)):
    t = np.array([[0.0, 1.0, 2.0], [0.0, 0.5, 1.5]])
    return Factors(t, np.array(weights), np.ones(2), np.array(ratios), np.array(spaces), np.ones(1))


def test_on_the_negative_axis_every_factor_takes_the_value_asked_for():
    factors, u = pair([[0.0, 0.5, 0.5], [0.0, 0.3, 0.7]]), np.array([0.1, 0.5, 0.999])
    E = factors.solve_real(u)
    values = (factors.weights * E[..., None] / (E[..., None] - factors.t)).sum(axis=-1)
    np.testing.assert_allclose(values, np.repeat(u[:, None], 2, axis=1), rtol=1e-12)


def test_the_slope_is_the_derivative_of_log_z():
    factors = pair([[0.1, 0.5, 0.4], [0.0, 0.3, 0.7]])
    u = np.array([0.6, 0.6 + 1e-6])
    total, slope, gap, _ = factors.linearise(u, factors.solve_real(u))
    assert np.abs(gap).max() < 1e-9
    assert (total[1] - total[0]) / 1e-6 == pytest.approx(slope[0], rel=1e-5)


def test_the_largest_mass_at_zero_is_that_of_the_product():
    assert pair([[0.1, 0.5, 0.4], [0.25, 0.3, 0.45]]).floor == pytest.approx(0.25)
    assert pair([[0.0, 0.5, 0.5], [0.0, 0.3, 0.7]]).floor == 0.0


def test_a_narrow_space_leaves_zeros_too():
    narrow = pair([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]], ratios=(1.0, 2.0), spaces=(2.0,))
    assert narrow.floor == pytest.approx(0.5)
    assert narrow.decay()[0] == 0.0


def test_two_singular_factors_make_the_edge_at_zero_hard():
    both = pair([[0.2, 0.4, 0.4], [0.2, 0.4, 0.4]])
    assert both.decay() == (0.5, 1)


@pytest.mark.parametrize("u", [0.3, 0.9])
@pytest.mark.parametrize("ratios", [(1.0, 1.0), (1.0, 2.0)])
def test_the_gap_of_a_factor_is_what_its_sum_lacks(u, ratios):
    factors = pair([[0.1, 0.5, 0.4], [0.0, 0.3, 0.7]], ratios=ratios, spaces=(ratios[1],))
    E = np.array([[-0.7, -2.0]])
    _, _, gap, _ = factors.linearise(np.array([u]), E)
    terms = factors.weights / (E[0][:, None] - factors.t)
    excess = E[0] * terms.sum(axis=1) - 1 - np.array(ratios) * (u - 1)
    slope = -(factors.t * factors.weights / (E[0][:, None] - factors.t) ** 2).sum(axis=1)
    np.testing.assert_allclose(gap[0], excess / slope, rtol=1e-12)
