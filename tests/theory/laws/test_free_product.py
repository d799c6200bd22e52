import math

import numpy as np
import pytest

from isometry.theory.laws.free_product import continued, resolvent
from isometry.theory.laws.layers import Layers


def layers(*rows, weights=(0.5, 0.5), counts=None, skip2=1.0):
    d = np.array(rows, dtype=float)
    shares = np.broadcast_to(np.array(weights), d.shape).copy()
    return Layers(d, shares, np.ones(len(d)) if counts is None else np.array(counts), skip2)


MARCHENKO_PASTUR = layers([1.0, 1.0], skip2=0.0)


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


def test_slopes_far_apart_are_reached_from_the_negative_axis():
    # u is all but constant between the scales: interpolation met a solution with E > 0.
    two = layers([1e-4, 10.0], skip2=0.0)
    t = np.linspace(-12, 3, 40)
    u, E = continued(two, 0.0, t, np.full_like(t, math.pi))
    assert ((u.real > 0) & (u.real < 1) & (E.real < 0).all(axis=1)).all()
    assert (np.diff(u.real) > 0).all()  # the mean of z / (z + lam)
    inside = resolvent(two, 0.0, t, np.zeros_like(t))
    assert (inside.imag < 1e-9).all()
    # Between the scales lies a gap: half of the values are far below, half far above.
    assert inside[20] == pytest.approx(0.5, abs=0.01)
