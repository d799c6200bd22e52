import math

import numpy as np
import pytest

from isometry.theory import quadrature


def double_factorial(n):
    return math.prod(range(n, 0, -2))


@pytest.mark.parametrize("order", [0, 2, 8, 30])
def test_polynomials_are_averaged_to_rounding(order):
    z, weights = quadrature.rule(quadrature.NEAR)
    assert weights @ z**order == pytest.approx(double_factorial(order - 1), rel=1e-13)


def test_the_far_panels_hold_what_grows_like_the_inverse_gaussian():
    # E exp(t z) = exp(t^2/2): the integrand peaks at t = 18, beyond the near panels
    z, weights = quadrature.rule(quadrature.FAR)
    assert weights @ np.exp(18 * z) == pytest.approx(math.exp(162), rel=1e-12)
    z, weights = quadrature.rule(quadrature.NEAR)
    assert weights @ np.exp(18 * z) < 0.01 * math.exp(162)


def test_edges_are_sorted_and_keep_the_points_that_lie_within():
    ends = quadrature.edges(np.array([-20.0, 0.3, 5.0]), quadrature.NEAR)
    assert (np.diff(ends) > 0).all()
    assert {0.3, 5.0} <= set(ends)
    assert ends[0] == -14
    last = (quadrature.NEAR[-2] + quadrature.NEAR[-1]) / 2
    assert last in quadrature.edges(np.array([last]), quadrature.NEAR)
    half = quadrature.edges(np.array([-1.0, 0.3]), quadrature.NEAR, half=True)
    assert half[0] == 0
    assert -1.0 not in half


def step(h):
    return np.stack([(h > 0.3).astype(float), np.abs(h - 0.3)])


def test_unlisted_kinks_and_jumps_are_bisected_until_they_matter_no_more():
    found = quadrature.adapt(step, 1.0, np.empty(0))
    tail = 0.5 * math.erfc(0.3 / math.sqrt(2))
    density = math.exp(-0.045) / math.sqrt(2 * math.pi)
    wanted = np.array([tail, 2 * density + 0.3 * (1 - 2 * tail)])
    gap = np.abs(found.value - wanted)
    assert (gap < 1e-11).all()
    assert (found.error < 1e-12).all()


def test_a_listed_kink_costs_no_bisection():
    calls = []

    def counted(h):
        calls.append(h.size)
        return step(h)

    quadrature.adapt(counted, 1.0, np.array([0.3]))
    listed = sum(calls)
    calls.clear()
    quadrature.adapt(counted, 1.0, np.empty(0))
    assert sum(calls) > 2 * listed


def test_noise_is_given_up_and_its_error_reported():
    rng = np.random.default_rng(0)
    found = quadrature.adapt(lambda h: rng.standard_normal((1, h.size)), 1.0, np.empty(0))
    assert found.error[0] > 1e-3
