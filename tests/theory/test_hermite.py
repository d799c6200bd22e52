import math

import numpy as np
import pytest

from isometry.theory.activations.lookup import activation
from isometry.theory.gaussian import gaussian_moments
from isometry.theory.hermite import HIGHEST, expand, shifted_points, shifted_rule


def test_relu_has_its_closed_form():
    found = expand(activation("relu"), 1.0, 0.0, 6)
    V = 0.5 - 0.5 / math.pi
    wanted = [0.5, 0.5 / math.sqrt(math.pi), 0, -1 / math.sqrt(48 * math.pi), 0]
    np.testing.assert_allclose(found.coefficients[:5], wanted, atol=1e-14)
    assert found.energy == pytest.approx(V, rel=1e-14)
    assert found.mean == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-14)
    assert found.slope_square == pytest.approx(0.5, rel=1e-14)


def test_a_linear_function_is_its_first_polynomial():
    found = expand(activation("linear"), 3.0, 2.0, 4)
    np.testing.assert_allclose(found.coefficients, [3, 0, 0, 0], atol=1e-13)
    assert found.mean == pytest.approx(2.0)
    assert found.fourth_moment == pytest.approx(3.0)


@pytest.mark.parametrize("name", ["gelu", "tanh", "hardtanh", "selu"])
def test_the_averages_are_those_of_gaussian_moments(name):
    found = expand(activation(name), 1.7, 0.0, 1)
    moments = gaussian_moments(name, 1.7**2)
    assert found.mean == pytest.approx(moments.mean, abs=1e-13)
    assert found.energy + found.mean**2 == pytest.approx(moments.square, rel=1e-13)
    assert found.slope_square == pytest.approx(1.7**2 * moments.slope_square, rel=1e-12)


@pytest.mark.parametrize("name", ["tanh", "softplus", "silu"])
def test_the_shares_of_a_smooth_activation_sum_to_one(name):
    assert expand(activation(name), 1.0, 0.4, HIGHEST).shares.sum() == pytest.approx(1, abs=1e-12)


def test_twice_as_many_panels_change_nothing_up_to_the_highest_order():
    coarse = expand(activation("hardtanh"), 2.0, 0.3, HIGHEST)
    fine = expand(activation("hardtanh"), 2.0, 0.3, HIGHEST, halvings=1)
    np.testing.assert_allclose(coarse.coefficients, fine.coefficients, atol=1e-13)


def test_a_shift_moves_the_kinks():
    assert 0.5 in shifted_points(activation("relu"), 2.0, -1.0)
    u, weights = shifted_rule(activation("relu"), 2.0, -1.0)
    assert weights @ (u > 0.5) == pytest.approx(0.5 * math.erfc(0.5 / math.sqrt(2)), rel=1e-13)
