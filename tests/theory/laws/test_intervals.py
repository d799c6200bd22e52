import math

import numpy as np
import pytest

from isometry.errors import ConvergenceError
from isometry.theory.laws.factors import Factors
from isometry.theory.laws.intervals import held, tabulate
from isometry.theory.laws.layers import Layers
from isometry.theory.laws.tables import NODES, quadrature


def two_clusters(apart):
    """Return two factors, one of two distant clusters and one close to the identity."""
    t = np.array([[0.0, 1.0, apart], [0.9, 1.0, 1.1]])
    weights, ones = np.array([[0.0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]]), np.ones(2)
    return Factors(t, weights, ones, ones, np.ones(1), np.ones(1))


def test_distant_clusters_make_intervals_that_share_the_mass():
    low, high = tabulate(two_clusters(10.0))
    assert low.left.mass + low.right.mass == pytest.approx(0.5, abs=1e-9)
    assert low.upper < high.lower
    # The factor near 1 moves log lam by less than its own range.
    assert np.log(0.9) < low.lower < low.upper < np.log(1.1)
    assert np.log(9.0) < high.lower < high.upper < np.log(11.0)


def test_edges_of_a_gap_are_those_of_large_rotated_matrices():
    low, high = tabulate(two_clusters(2.0))
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((600, 600)))
    A = np.sqrt(np.repeat([1.0, 2.0], 300))[:, None] * Q * np.sqrt(np.tile([0.9, 1.0, 1.1], 200))
    t = np.log(np.linalg.svd(A, compute_uv=False) ** 2)
    below = t[t < (low.upper + high.lower) / 2]
    edges = [low.lower, low.upper, high.lower, high.upper]
    found = [below.min(), below.max(), t[t > below.max()].min(), t.max()]
    # Extreme eigenvalues lie within a few N^(-2/3) of the widths.
    np.testing.assert_allclose(found, edges, atol=0.005)


def test_close_clusters_make_one_interval():
    t, ones = np.array([[0.8, 1.0, 1.25]]), np.ones(1)
    factors = Factors(t, np.full((1, 3), 1 / 3), 4 * ones, ones, ones, 3 * ones)
    (shape,) = tabulate(factors)
    assert shape.left.mass + shape.right.mass == pytest.approx(1, abs=1e-9)


def test_a_density_that_diverges_at_its_edges_is_a_table():
    # Projections on halves of the space: the product's lam off 0 has the arcsine law on [0, 1].
    ones = np.ones(1)
    factors = Factors(np.array([[0.0, 1.0]]), np.full((1, 2), 0.5), 2 * ones, ones, ones, ones)
    law = held(factors)
    lam = np.array([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
    arcsine = np.arcsin(np.sqrt(lam)) / math.pi  # and half of the mass at 0
    np.testing.assert_allclose(law.cdf(lam, None), 0.5 + arcsine, atol=1e-9)
    np.testing.assert_allclose(law.icdf(0.5 + arcsine), lam, rtol=1e-7)


def test_weights_that_all_but_form_an_atom_are_an_error_and_not_a_table():
    weights, ones = np.array([[0.5, 0.5], [0.4999, 0.5001]]), np.ones(2)
    factors = Factors(np.array([[1.0, 2.0], [0.9, 1.1]]), weights, ones, ones, ones[:1], ones[:1])
    with pytest.raises(ConvergenceError, match="diverges at an edge") as refusal:
        tabulate(factors)
    assert "give the factors fewer values" in str(refusal.value)
    assert "sigma_w" not in str(refusal.value)


def layers(d, weights, counts, skip2):
    return Layers(np.array(d), np.array(weights), np.array(counts), skip2)


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
    (shape,) = tabulate(layers(*arguments))
    assert shape.decay == pytest.approx(decay)
    assert shape.left.order == order
    assert math.isinf(shape.lower) == (decay > 0)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_mass_and_mean_are_those_of_the_product(kind):
    group = layers(*kind[:4])
    (shape,) = tabulate(group)
    t, weights = quadrature(shape, NODES)
    assert weights.sum() == pytest.approx(1 - group.atom.max(), abs=1e-8)
    assert weights @ np.exp(t) == pytest.approx(math.exp(group.log_mean()), rel=1e-8)
