import math

import numpy as np
import pytest

from isometry.errors import ConvergenceError
from isometry.theory.laws.free_product import Layers, lower_edge, resolvent, upper_edge


def layers(*rows, weights=(0.5, 0.5), counts=None, skip2=1.0):
    d = np.array(rows, dtype=float)
    shares = np.broadcast_to(np.array(weights), d.shape).copy()
    return Layers(d, shares, np.ones(len(d)) if counts is None else np.array(counts), skip2)


MARCHENKO_PASTUR = layers([1.0, 1.0], skip2=0.0)


def test_the_real_solution_satisfies_the_layers_equation():
    group = layers([0.2, 1.5], [0.0, 3.0], skip2=0.7)
    u = np.array([1e-6, 0.1, 0.5, 0.999])
    E = group.solve_real(u)
    H = (group.weights * group.d / (E[..., None] - u[:, None, None] * group.d)).sum(axis=2)
    z = E + 0.7 / (1 - H)
    np.testing.assert_allclose(z * (1 + u[:, None] * H), u[:, None] * E, rtol=1e-9)  # (30)
    assert (E < 0).all()


def test_the_resolvent_of_marchenko_and_pastur_solves_its_quadratic():
    t = np.array([-3.0, 0.0, 1.0, 3.0])
    for angle in (math.pi, 2.0, 0.3, 0.0):
        u = resolvent(MARCHENKO_PASTUR, 0.0, t, np.full(4, angle))
        z = np.exp(t + 1j * angle)
        # G = 1 / (z - z G) for X X^T with square X: u^2 - z u + z = 0
        np.testing.assert_allclose(u * u - z * u + z, 0, atol=1e-8 * np.abs(z).max())
    inside = resolvent(MARCHENKO_PASTUR, 0.0, np.zeros(1), np.zeros(1))
    lam = 1.0
    density = math.sqrt(lam * (4 - lam)) / (2 * math.pi)  # of log lam
    assert -inside.imag[0] / math.pi == pytest.approx(density, rel=1e-8)


def test_the_edges_of_one_layer_without_a_skip_are_known():
    assert math.exp(upper_edge(MARCHENKO_PASTUR)) == pytest.approx(4.0, rel=1e-9)
    # a quarter of dead units: lam / variance in (1 -+ sqrt(3/4))^2
    dead = layers([0.0, 1.0], weights=(0.25, 0.75), skip2=0.0)
    assert math.exp(upper_edge(dead)) == pytest.approx((1 + math.sqrt(0.75)) ** 2, rel=1e-8)
    assert math.exp(lower_edge(dead, 0.25)) == pytest.approx((1 - math.sqrt(0.75)) ** 2, rel=1e-8)


def test_equal_layers_count_as_often_as_they_occur():
    one = layers([0.1, 0.3], counts=[3.0])
    three = layers(*[[0.1, 0.3]] * 3)
    assert upper_edge(one) == pytest.approx(upper_edge(three), rel=1e-12)
    assert lower_edge(one, 0.0) == pytest.approx(lower_edge(three, 0.0), rel=1e-12)
    assert one.log_mean() == pytest.approx(3 * math.log(1.2))


def test_the_mass_at_zero_is_that_of_the_dead_units_without_a_skip():
    assert layers([0.0, 1.0], skip2=0.0).atom == pytest.approx(0.5)
    assert layers([0.0, 1.0], skip2=1.0).atom == 0


def test_a_gap_inside_the_support_is_an_error_and_no_number():
    two = layers([1e-4, 10.0], skip2=0.0)
    t = np.linspace(-12, 3, 40)
    with pytest.raises(ConvergenceError, match="was not reached"):
        resolvent(two, 0.0, t, np.zeros_like(t))
