import math

import mpmath
import numpy as np
import pytest

from cases_laws import EDGES
from isometry.theory.laws.universal import UniversalLaw

CUMULANTS = [1e-8, 1e-4, 0.01, 0.25, 1.0, 4.0, 12.0, 50.0]
INTERIOR = [-0.999, -0.9, -0.5, -0.1, 0.0, 1e-6, 0.3, 0.7, 0.95, 0.999]
EDGE = [-1 + 1e-9, -1 + 1e-7, 1 - 1e-6, 1 - 1e-8]


def solve(lam, c, scale):
    """Density and mass beyond lam, by bisection of the curve at 40 digits."""
    with mpmath.workdps(40):
        c, t = mpmath.mpf(c), abs(mpmath.log(mpmath.mpf(lam) / mpmath.mpf(scale)))

        def eta(x):
            squared = (c - x * mpmath.tan(x / 2)) * (c + x * mpmath.cot(x / 2))
            return mpmath.sqrt(max(squared, 0))

        def short(x):
            return (
                c > x * mpmath.tan(x / 2) and eta(x) + mpmath.asinh(eta(x) * mpmath.sin(x) / x) > t
            )

        low, high = mpmath.mpf(0), mpmath.pi
        for _ in range(140):
            middle = (low + high) / 2
            low, high = (middle, high) if short(middle) else (low, middle)
        e, x = eta(low), low
        tail = mpmath.atan2(e * mpmath.sin(x), c * mpmath.cos(x) - x * mpmath.sin(x)) - e * x / c
        return x / (2 * mpmath.pi * c * mpmath.mpf(lam)), tail / (2 * mpmath.pi)


def relative(found, wanted):
    return max(abs(float(mpmath.mpf(float(f)) / w - 1)) for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("shares", "tolerance"), [(INTERIOR, 1e-12), (EDGE, 1e-8)])
@pytest.mark.parametrize("scale", [1.0, 3.7])
@pytest.mark.parametrize("c", CUMULANTS)
def test_density_and_tails_match_forty_digits(c, scale, shares, tolerance):
    law = UniversalLaw(c, scale)
    half = (law.log_support()[1] - law.log_support()[0]) / 2
    lam = scale * np.exp(half * np.array(shares))
    density, tails = zip(*(solve(x, c, scale) for x in lam), strict=True)
    assert relative(law.pdf(lam), density) < tolerance
    assert relative(np.where(lam < scale, law.cdf(lam), law.ccdf(lam)), tails) < tolerance


@pytest.mark.parametrize("c", CUMULANTS)
def test_quantiles_match_forty_digits(c):
    law = UniversalLaw(c)
    for p in (1e-12, 1e-3, 0.2, 0.5, 0.9):
        lam = float(law.icdf(p))
        density, tail = solve(lam, c, 1.0)
        below = tail if lam < 1 else 1 - tail
        # one Newton step at 40 digits gives the exact quantile to first order
        assert abs(float((below - mpmath.mpf(p)) / density)) <= 1e-12 * lam


@pytest.mark.parametrize(("c", "edges"), EDGES.items())
def test_the_edges_match_the_reference_table(c, edges):
    np.testing.assert_allclose(
        UniversalLaw(c).support(), edges, rtol=5e-12, atol=6e-13
    )  # as printed


@pytest.mark.parametrize("c", CUMULANTS)
def test_the_edges_are_reciprocal_and_the_condition_number_is_the_upper_one(c):
    low, high = UniversalLaw(c).support()
    assert low * high == pytest.approx(1, rel=1e-14)
    assert UniversalLaw(c).condition_number() == pytest.approx(high, rel=1e-13)


@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 5])
@pytest.mark.parametrize("c", CUMULANTS)
def test_laguerre_and_quadrature_give_the_same_moments(c, n):
    law = UniversalLaw(c, 1.3)
    assert law.moment(n) == pytest.approx(law.moment(n, method="quadrature"), rel=1e-12)


@pytest.mark.parametrize("c", CUMULANTS)
def test_the_first_moments_are_those_of_the_theory(c):
    law = UniversalLaw(c)
    assert law.mean() == pytest.approx(math.exp(c), rel=1e-13)
    assert law.moment(2) == pytest.approx(math.exp(2 * c) * (1 + 2 * c), rel=1e-13)
    assert law.variance() == pytest.approx(math.exp(2 * c) * 2 * c, rel=1e-13)
    t, weights = law._nodes()
    assert weights @ t == pytest.approx(law.log_mean(), abs=1e-12 * t.max())
    assert weights @ t**2 == pytest.approx(law.log_variance(), rel=1e-12)


def test_a_small_c_gives_a_semicircle_in_log_lam():
    c = 1e-8
    x = np.linspace(-1.9, 1.9, 20)
    lam = np.exp(x * math.sqrt(2 * c))
    density = UniversalLaw(c).pdf(lam) * lam * math.sqrt(2 * c)
    np.testing.assert_allclose(density, np.sqrt(4 - x**2) / (2 * np.pi), rtol=1e-7)  # O(c) x 10


@pytest.mark.parametrize("c", CUMULANTS)
def test_both_routes_to_the_cauchy_transform_agree(c):
    law = UniversalLaw(c, 2.0)
    low, high = law.support()
    z = np.array([-3.0, 2 + 2j, 0.5 - 1j, 1j * high, 0.0, 1.5 * high, low / 2, 1e30])
    np.testing.assert_allclose(
        law.cauchy_transform(z, method="formula"), law.cauchy_transform(z), rtol=1e-9
    )


def test_the_cauchy_transform_near_the_axis_gives_the_density():
    law = UniversalLaw(1.0)
    lam = np.array([0.1, 1.0, 10.0])
    G = law.cauchy_transform(lam + 1e-9j, method="formula")
    np.testing.assert_allclose(-G.imag / np.pi, law.pdf(lam), rtol=1e-6)  # O(1e-9 / distance)


def test_the_cauchy_transform_is_real_next_to_an_edge():
    law = UniversalLaw(1.0)
    found = law.cauchy_transform(law.support()[1] * (1 + 1e-3), method="formula")
    assert found == pytest.approx(law.cauchy_transform(law.support()[1] * (1 + 1e-3)), rel=1e-6)


def test_both_routes_to_the_s_transform_agree():
    law = UniversalLaw(4.0, 0.5)
    for w in (-0.9, -0.5, -0.1):
        assert law.s_transform(w) == pytest.approx(law.s_transform(w, method="formula"), rel=1e-10)


def test_a_very_large_c_keeps_its_edges_in_logarithms():
    law = UniversalLaw(5000.0)
    assert law.support() == (0.0, math.inf)
    assert law.log_support()[1] == pytest.approx(5000.99990002 + math.asinh(5000.99990002))
    assert law.cdf(1.0) == pytest.approx(0.5, abs=1e-14)


@pytest.mark.parametrize("scale", [1e-290, 1e290])
def test_an_extreme_scale_only_shifts(scale):
    law, unit = UniversalLaw(1.0, scale), UniversalLaw(1.0)
    lam = np.array([0.06, 0.5, 1.0, 20.0])
    np.testing.assert_allclose(law.cdf(scale * lam), unit.cdf(lam), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-0.3,), ValueError, r"`c` is -0.3; expected a finite number >= 0"),
        ((math.nan,), ValueError, "`c` is nan"),
        ((math.inf,), ValueError, "`c` is inf"),
        (("1",), TypeError, "`c` is '1'"),
        ((1.0, 0.0), ValueError, "`scale` is 0.0; expected a finite number > 0"),
        ((1.0, None), TypeError, "`scale` is None"),
    ],
)
def test_bad_parameters_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        UniversalLaw(*arguments)


def test_a_c_beyond_all_use_is_refused():
    assert UniversalLaw(1e5).log_support()[1] > 1e5
    with pytest.raises(ValueError, match="`c` is 100001; expected at most 100000"):
        UniversalLaw(1e5 + 1)
