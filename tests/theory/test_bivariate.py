import math

import numpy as np
import pytest

from isometry.theory.bivariate import correlation_average

RHO = [-1 + 1e-7, -0.9, -0.3, 0.0, 0.4, 0.95, 1 - 1e-4, 1 - 1e-10]
KINK = np.zeros(1)


@pytest.mark.parametrize("rho", RHO)
def test_the_sign_follows_the_arcsine(rho):
    found = correlation_average(np.sign, KINK, KINK, rho)
    assert found == pytest.approx(2 / math.pi * math.asin(rho), abs=2e-13)


@pytest.mark.parametrize("rho", RHO)
def test_relu_follows_the_arc_cosine_kernel(rho):
    found = correlation_average(lambda u: np.maximum(u, 0.0), KINK, KINK, rho)
    angle = math.acos(rho)
    wanted = (math.sin(angle) + (math.pi - angle) * rho) / (2 * math.pi)
    assert found == pytest.approx(wanted, abs=1e-13)


def test_the_limit_of_equal_inputs_is_continuous():
    found = correlation_average(np.cos, KINK, np.empty(0), 1 - 1e-20)
    assert found == pytest.approx((1 + math.exp(-2)) / 2, rel=1e-12)


def test_two_kinks_away_from_zero_agree_with_a_fine_grid():
    kinks = np.array([-0.7, 1.2])

    def clip(u):
        return np.clip(u, -0.7, 1.2)

    z = np.linspace(-8, 8, 1601)
    w = np.exp(-z * z / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    inner = clip(0.6 * z[:, None] + 0.8 * z) @ w
    # the grid's own error at a kink is h^2 / 12 of its jump in slope
    assert correlation_average(clip, kinks, kinks, 0.6) == pytest.approx(
        float((w * clip(z)) @ inner), abs=2e-5
    )
