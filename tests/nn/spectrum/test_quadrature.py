import numpy as np
import pytest
import torch

from cases_matrices import operator, seeded, with_singular_values
from isometry.nn.spectrum import lanczos
from isometry.nn.spectrum.quadrature import Quadrature, christoffel, combine, with_rank


def quadrature(s, steps=60, probes=8, seed=0):
    J = operator(with_singular_values(len(s), len(s), s), torch.float64)
    seen = torch.ones(len(s), dtype=torch.bool)
    start = lanczos.random_probes(J, probes, seen, seeded(seed))
    bidiagonal = lanczos.GolubKahan(J, start, steps).advance(steps)
    return combine(bidiagonal, lanczos.ritz_values(bidiagonal), len(s))


def with_zeros(low, high, zeros=150, size=300):
    return np.concatenate([np.zeros(zeros), np.linspace(low, high, size - zeros)])


def test_the_christoffel_function_is_the_sum_of_squared_orthonormal_polynomials():
    # Three nodes of Legendre's measure on [-1, 1], of mass 1: p_k = sqrt(2k + 1) P_k.
    T = np.diag([1 / np.sqrt(3), 2 / np.sqrt(15)], 1)
    lam, vectors = np.linalg.eigh(T + T.T)
    at = np.array([-2.0, 0.3, 1.5])
    p = [np.ones(3), np.sqrt(3) * at, np.sqrt(5) * (3 * at**2 - 1) / 2]
    received = christoffel(lam, vectors[0], vectors[2], at)
    np.testing.assert_allclose(received, 1 / np.sum(np.square(p), axis=0), rtol=1e-12)


def test_a_spectrum_that_products_resolve_has_no_unresolved_part():
    assert quadrature(np.linspace(0.5, 2.0, 300)).unresolved == (0.0, 0.0)


def test_zeros_far_below_the_bulk_are_resolved_and_counted():
    found = quadrature(with_zeros(0.8, 1.2))
    assert found.unresolved == (0.0, 0.0)
    # The standard error of an atom of weight one half is sqrt(1 / (2 * 300 * 8)) = 0.014; five.
    assert found.weights[found.values == 0].sum() == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("s", [with_zeros(0.3, 100.0), with_zeros(1e-3, 100.0, 0)])
def test_values_that_products_cannot_tell_from_zero_are_unresolved(s):
    found = quadrature(s)
    low, high = found.unresolved
    assert low == 0
    # All that lies below one 60th of the largest value is, and not all the rest.
    assert np.mean(s < 100 / 60) < high < np.mean(s < 100 / 60) + 0.06


def test_a_space_that_is_exhausted_is_resolved_however_few_its_values_are():
    s = np.array([1e-3, 0.1, 0.5, 1.0])
    found = quadrature(s, steps=4)
    assert found.unresolved == (0.0, 0.0)
    np.testing.assert_allclose(np.sqrt(found.values), s, rtol=1e-6)


def test_more_products_resolve_what_fewer_do_not():
    s = np.linspace(0.05, 2.0, 300)
    assert quadrature(s, 30).unresolved[1] > 0.03
    assert quadrature(s, 150).unresolved == (0.0, 0.0)


def test_above_the_unresolved_part_the_distribution_is_right():
    s = np.geomspace(1e-4, 1.0, 300)
    found = quadrature(s)
    assert 0.3 < found.unresolved[1] < 0.8
    upto = np.cumsum(found.weights)
    truth = np.searchsorted(s**2, found.values, side="right") / 300
    known = upto > found.unresolved[1] + 0.02
    # Five standard errors of the cdf over 8 probes: 5 * 0.5 * sqrt(2 / (300 * 8)) = 0.07.
    assert np.abs(upto - truth)[known].max() < 0.07
    assert np.abs(upto - truth)[~known].max() > 0.2


@pytest.mark.parametrize("outlier", [0.02, 20.0])
def test_one_outlier_on_either_side_is_one_node_of_the_right_weight(outlier):
    s = np.sort(np.append(np.linspace(0.5, 2.0, 299), outlier))
    found = quadrature(s)
    apart = np.isclose(np.sqrt(found.values), outlier, rtol=1e-3)
    assert apart.sum() == 1
    assert found.weights[apart] == pytest.approx(1 / 300, rel=1e-9)


def test_an_outlier_that_has_not_converged_is_not_drawn_out_over_the_gap():
    s = np.append(np.linspace(0.5, 2.0, 298), [30.0, 30.001])
    found = quadrature(s, 12)
    values = np.sqrt(found.values)
    assert not ((values > 2.2) & (values < 25)).any()


def test_a_known_rank_makes_zeros_of_the_lowest_levels_and_of_no_others():
    found = Quadrature(
        values=np.array([0.1, 0.2, 4.0]), weights=np.array([0.3, 0.5, 0.2]),
        standard_error=np.array([0.01, 0.02, 0.0]), separated=0, coarseness=0.5,
        unresolved=(0.0, 0.8), probes=2, size=10,
    )  # fmt: skip
    known = with_rank(found, 6)
    np.testing.assert_allclose(known.values, [0.0, 0.2, 4.0])
    np.testing.assert_allclose(known.weights, [0.4, 0.4, 0.2])
    np.testing.assert_allclose(known.standard_error, [0.0, 0.02, 0.0])
    assert known.unresolved == (0.4, 0.8)
    assert with_rank(found, 2).unresolved == (0.0, 0.0)
    assert with_rank(found, 10) is found
