import math

import numpy as np
import pytest

from isometry.errors import ConvergenceError
from isometry.theory.laws import FiniteDepthLaw
from isometry.theory.noise_chain import (
    blocks,
    edge,
    effective_alpha,
    growth,
    log_singular_value,
    mu_of,
    waves,
)

ALPHA = np.array([0.05, 0.02, 0.1, 0.03, 0.07])
PLACES = [1.002, 1.3, 2.0, -1.01, -1.6]


def pencil(alpha, s, p, r):
    """The chain's linear system with its noise in the mean: rows are equations."""
    depth = len(alpha)
    matrix = np.zeros((2 * depth + 2, 2 * depth + 2))

    def y(layer):
        return layer

    def t(layer):
        return depth + 1 + layer

    for layer in range(1, depth + 1):
        of_y, of_t = layer - 1, depth + layer - 1
        matrix[of_y, [y(layer), y(layer - 1)]] = 1.0, -1.0
        matrix[of_y, t(layer)] = -alpha[layer - 1] * p[layer - 1]
        matrix[of_t, [t(layer - 1), t(layer)]] = 1.0, -1.0
        matrix[of_t, y(layer - 1)] = -alpha[layer - 1] * r[layer - 1]
    matrix[-2, [y(depth), t(depth)]] = 1.0, -s
    matrix[-1, [t(0), y(0)]] = 1.0, -s
    return matrix


def dense(mu, alpha=ALPHA):
    s = math.exp(log_singular_value(alpha, np.array([mu]))[0])
    found = blocks(alpha, np.array([mu]))
    p, r = np.diag(found.y_t[0]), found.below[0]
    return found, np.linalg.inv(pencil(alpha, s, p, r)), len(alpha)


@pytest.mark.parametrize("mu", PLACES)
def test_closed_form_solves_the_fixed_point_of_the_pencil(mu):
    found, inverse, depth = dense(mu)
    ys, ts = np.arange(depth), depth + 2 + np.arange(depth)  # y_{l-1} and t_l
    of_y, of_t = np.arange(depth), depth + np.arange(depth)
    for block, columns, rows in (
        (found.y_y, ys, of_y),
        (found.y_t, ys, of_t),
        (found.t_y, ts, of_y),
        (found.t_t, ts, of_t),
    ):
        np.testing.assert_allclose(block[0], inverse[np.ix_(columns, rows)], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.below[0], np.diag(found.t_y[0]), rtol=1e-12)


def test_a_noise_that_is_off_by_a_tenth_does_not_solve_it():
    found, _, depth = dense(1.3)
    s = math.exp(log_singular_value(ALPHA, np.array([1.3]))[0])
    p, r = np.diag(found.y_t[0]), found.below[0]
    inverse = np.linalg.inv(pencil(1.1 * ALPHA, s, p, r))
    assert abs(inverse[depth + 2, 0] / found.below[0, 0] - 1) > 0.005


@pytest.mark.parametrize("side", [-1, 1])
def test_turning_points_are_the_edges_of_the_law_of_gaussian_layers(side):
    z = edge(ALPHA, side)
    s = math.exp(log_singular_value(ALPHA, mu_of(np.array([z]), side))[0])
    lam = FiniteDepthLaw.ginibre(ALPHA.tolist()).support()[(side + 1) // 2]
    assert s == pytest.approx(math.sqrt(lam), rel=1e-7)


def test_singular_value_is_that_of_the_universal_law_for_many_layers():
    mu = np.array([1.5])
    s = log_singular_value(np.full(20_000, 1.0 / 20_000), mu)[0]
    assert s == pytest.approx(math.log(5.0) / 2 + 0.75, abs=1e-4)


def test_effective_noise_of_equal_entries_is_theirs_and_of_others_is_larger():
    equal = np.tile(ALPHA[:, None], 4)
    np.testing.assert_allclose(effective_alpha(equal, 1.4), ALPHA, rtol=1e-13)
    spread = equal * np.array([0.2, 0.6, 1.4, 1.8])
    effective = effective_alpha(spread, 1.4)
    assert (effective > ALPHA).all()
    kappa = (1.4**2 - 1) / 4 / growth(effective, np.array(1.4))
    left = 1 - (spread - effective[:, None]) * kappa[:, None]
    np.testing.assert_allclose((1 / left).mean(axis=1), 1.0, rtol=1e-12)


def test_entries_too_different_for_one_noise_are_refused():
    with pytest.raises(ConvergenceError, match="expected layers that change the signal little"):
        effective_alpha(np.array([[0.0, 4.0]]), 30.0)


def test_waves_of_equal_entries_make_the_mean_resolvent():
    mu = 1.3
    wave = waves(np.tile(ALPHA[:, None], 3), ALPHA, mu)
    found = blocks(ALPHA, np.array([mu]))
    np.testing.assert_allclose((wave.y * wave.y_back)[:-1, 0], np.diag(found.y_t[0]), rtol=1e-12)
    np.testing.assert_allclose((wave.t * wave.t_back)[1:, 1], found.below[0], rtol=1e-12)
    np.testing.assert_allclose(wave.weight, ALPHA * found.below[0], rtol=1e-12)
