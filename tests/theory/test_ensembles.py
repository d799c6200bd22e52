import math

import numpy as np
import pytest

from isometry.theory import ensembles
from isometry.theory.comparison import compare, ks_tolerance
from isometry.theory.ensembles import residual_product, squared_singular_values
from isometry.theory.laws import UniversalLaw
from isometry.theory.spectrum import Spectrum

ENTRIES = ("gaussian", "rademacher", "uniform", "student", "orthogonal")


def _spectrum(width=200, depth=60, *, seed=0, **arguments):
    J = residual_product(width, depth, rng=np.random.default_rng(seed), **arguments)
    return Spectrum(squared_singular_values(J))


@pytest.mark.parametrize("entries", ENTRIES)
def test_every_distribution_of_entries_follows_the_one_law(entries):
    spectrum = _spectrum(c=1.0, entries=entries)
    assert compare(spectrum, UniversalLaw(c=1.0)).ks <= 0.02
    # The same matrix is told from half and from twice the c.
    assert compare(spectrum, UniversalLaw(c=0.5)).ks > 0.05
    assert compare(spectrum, UniversalLaw(c=2.0)).ks > 0.05


def test_skip_rescales_c_and_the_spectrum():
    spectrum = _spectrum(c=1.0, skip=0.95)
    law = UniversalLaw(c=1.0 / 0.95**2, scale=0.95**120)
    assert compare(spectrum, law).ks <= ks_tolerance(200)


def test_independent_slopes_multiply_c_by_their_mean_square():
    slopes = np.random.default_rng(1).integers(0, 2, (60, 200)).astype(float)
    c = 2.0 * float(np.mean(slopes**2))
    assert compare(_spectrum(c=2.0, slopes=slopes), UniversalLaw(c=c)).ks <= 0.02
    # The same diagonal in every factor leaves half of the coordinates alone: another law.
    shared = np.broadcast_to(slopes[0], (60, 200))
    assert compare(_spectrum(c=2.0, slopes=shared), UniversalLaw(c=c)).ks > 0.05


@pytest.mark.parametrize("entries", ENTRIES)
def test_one_factor_has_the_stated_trace(entries):
    X = residual_product(300, 1, c=2.0, entries=entries, skip=0.0, rng=np.random.default_rng(2))
    # tau(X X^T) = 2: 90,000 entries, whose squares vary by at most 8 times their mean (student).
    assert np.sum(X**2) / 300 == pytest.approx(2.0, rel=5 * math.sqrt(8 / 90_000))


def test_orthogonal_entries_are_a_multiple_of_an_orthogonal_matrix():
    X = residual_product(20, 1, c=4.0, entries="orthogonal", skip=0.0, rng=np.random.default_rng(3))
    np.testing.assert_allclose(X @ X.T, 4.0 * np.eye(20), atol=1e-13)


def test_orthogonal_factors_are_haar_and_not_only_orthogonal():
    rng = np.random.default_rng(4)
    traces = [
        np.trace(residual_product(3, 1, c=1.0, entries="orthogonal", skip=0.0, rng=rng))
        for _ in range(2000)
    ]
    # Haar on O(3): mean trace 0, mean square 1; QR without the sign correction has mean -1.8.
    assert np.mean(traces) == pytest.approx(0.0, abs=5 / math.sqrt(2000))


def test_generator_fixes_the_draw():
    one, two = (residual_product(8, 3, c=1.0, rng=np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_zero_c_is_the_identity():
    J = residual_product(5, 4, c=0.0, rng=np.random.default_rng(6))
    np.testing.assert_array_equal(J, np.eye(5))


def test_squared_singular_values_are_those_of_a_known_matrix():
    rotation, _ = np.linalg.qr(np.random.default_rng(7).standard_normal((4, 4)))
    J = rotation @ np.diag([3.0, 2.0, 1.0, 1e-12])
    np.testing.assert_allclose(squared_singular_values(J)[1:], [1.0, 4.0, 9.0], rtol=1e-14)
    # 1e-12 is above eps * s_max; over J J^T, whose floor is 1e-8, it would be lost.
    assert squared_singular_values(J)[0] == pytest.approx(1e-24, rel=1e-2)
    assert squared_singular_values(J[:, :2]).shape == (2,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"width": 0}, ValueError, "`width` is 0"),
        ({"depth": 0}, ValueError, "`depth` is 0"),
        ({"c": -1.0}, ValueError, "`c` is -1.0"),
        ({"skip": math.nan}, ValueError, "`skip` is nan"),
        ({"entries": "gausian"}, ValueError, "Did you mean 'gaussian'"),
        ({"slopes": np.ones(3)}, ValueError, r"`slopes` has shape \(3,\); expected \(2, 4\)"),
        ({"depth": 2.5}, TypeError, "`depth` is 2.5"),
    ],
)
def test_bad_ensemble_is_refused(arguments, error, message):
    given = {"width": 4, "depth": 2, "c": 1.0, **arguments}
    with pytest.raises(error, match=message):
        residual_product(**given, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("J", "error", "message"),
    [
        (np.ones(3), ValueError, r"`J` has shape \(3,\)"),
        (np.full((2, 2), np.inf), ValueError, "4 infinite entries"),
        ("J", TypeError, "`J` has dtype"),
    ],
)
def test_what_is_no_finite_matrix_has_no_singular_values(J, error, message):
    with pytest.raises(error, match=message):
        squared_singular_values(J)


def test_products_and_squares_beyond_float64_are_refused():
    with pytest.raises(ValueError, match="with which the product overflows after 4 factors"):
        residual_product(3, 4, c=1e300, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="`J` has a singular value of 1e\\+200"):
        squared_singular_values(np.array([[1e200]]))


def test_a_rotated_product_keeps_the_determinant_and_refuses_factors_of_two_sizes():
    rng = np.random.default_rng(0)
    lam = np.array([0.5, 1.0, 3.0]), np.array([2.0, 0.2, 1.0])
    J = ensembles.rotated_product(lam, rng=rng)
    assert np.linalg.det(J) ** 2 == pytest.approx(np.prod(lam))
    with pytest.raises(ValueError, match="`spectra` has shapes"):
        ensembles.rotated_product([[1.0], [1.0, 2.0]], rng=rng)
