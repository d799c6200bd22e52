import math

import numpy as np
import pytest

from isometry.theory import ensembles
from isometry.theory.ensembles import squared_singular_values
from isometry.theory.laws import FiniteDepthLaw, ProductLaw, UniversalLaw
from isometry.theory.spectrum import Spectrum

RULE = np.array([0.6, 1.0, 1.6]), np.array([0.3, 0.4, 0.3])


def haar(size, rng):
    Q, R = np.linalg.qr(rng.standard_normal((size, size)))
    return Q * np.sign(np.diag(R))


def rotated_product(factors, rng):
    return squared_singular_values(ensembles.rotated_product(factors, rng=rng))


def distance(law, lam):
    n = len(lam)
    return np.abs(law.cdf(lam) - (np.arange(n) + 0.5) / n).max()


def test_rotated_factors_follow_the_law_and_not_one_of_ten_percent_wider_factors():
    rng = np.random.default_rng(0)
    factors = [np.exp(0.8 * rng.standard_normal(300)) for _ in range(4)]
    law = ProductLaw([(lam, np.full(300, 1 / 300)) for lam in factors])
    lam = rotated_product(factors, rng)
    # Eigenvalues repel: the distance to their own law is of order 1/N, not 1/sqrt(N).
    assert distance(law, lam) < 4 / 300
    wide = ProductLaw([(lam**1.1, np.full(300, 1 / 300)) for lam in factors])
    assert distance(wide, lam) > 8 / 300


def test_factors_of_one_layer_give_the_law_of_finite_depth():
    one = FiniteDepthLaw.ginibre([0.3])
    p = (np.arange(2000) + 0.5) / 2000
    law = ProductLaw([((one.icdf(p), np.full(2000, 1 / 2000)), 3)])
    exact = FiniteDepthLaw.ginibre([0.3] * 3)
    at = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    np.testing.assert_allclose(np.log(law.icdf(at)), np.log(exact.icdf(at)), atol=5e-3)


def test_many_small_factors_tend_to_the_universal_law():
    steps = [ProductLaw([(_small(1.0 / n), n)]) for n in (20, 80)]
    gaps = [np.abs(law.cdf(UniversalLaw(1.0).icdf(np.array([0.1, 0.5]))) - [0.1, 0.5]).max()
            for law in steps]  # fmt: skip
    assert gaps[1] < 0.4 * gaps[0]
    assert gaps[1] < 0.01


def _small(c):
    """Return (1 + X)^T (1 + X) to second order for X of tau(X X^T) = c: a semicircle in log lam."""
    angles = np.pi * (np.arange(1, 25)) / 25
    weights = np.sin(angles) ** 2
    logs = 2 * math.sqrt(2 * c) * np.cos(angles)
    return np.exp(logs), weights / weights.sum()


def test_mass_and_mean_are_those_of_the_factors():
    law = ProductLaw([(RULE, 8), Spectrum(np.array([0.5, 2.0]))])
    t, weights = law._nodes()
    assert weights.sum() == pytest.approx(1, abs=1e-8)
    mean = (RULE[0] @ RULE[1]) ** 8 * 1.25
    assert law.mean() == pytest.approx(mean, rel=1e-12)
    assert weights @ np.exp(t) == pytest.approx(mean, rel=1e-8)


def test_the_order_and_the_grouping_of_factors_do_not_matter():
    other = np.array([0.5, 2.0]), np.array([0.5, 0.5])
    p = np.array([0.01, 0.3, 0.8])
    one = ProductLaw([(RULE, 2), other]).icdf(p)
    np.testing.assert_allclose(one, ProductLaw([RULE, other, RULE]).icdf(p), rtol=1e-10)


def test_zeros_of_a_factor_are_zeros_of_the_product():
    rng = np.random.default_rng(1)
    dead, alive = np.repeat([0.0, 0.7, 1.0, 1.4], [90, 70, 70, 70]), np.repeat([0.6, 1, 1.7], 100)
    law = ProductLaw([(x, np.full(300, 1 / 300)) for x in (dead, alive, alive)])
    lam = rotated_product([dead, alive, alive], rng)
    assert law.cdf(0.0) == pytest.approx(0.3)
    assert np.abs(law.cdf(lam[90:]) - (np.arange(90, 300) + 0.5) / 300).max() < 4 / 300
    assert law.condition_number() == math.inf


def test_rectangular_factors_follow_the_law_with_their_shapes():
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((120, 300)) / 15, rng.standard_normal((200, 120)) / 12
    J = (haar(200, rng) @ second @ haar(120, rng)) @ first
    zeros = [np.sort(np.linalg.eigvalsh(A.T @ A).clip(0)) for A in (first, second)]
    zeros[0][:180] = 0.0
    law = ProductLaw([(z, np.full(len(z), 1 / len(z))) for z in zeros], [(120, 300), (200, 120)])
    lam = np.sort(np.linalg.svd(J, compute_uv=False) ** 2)
    assert law.cdf(0.0) == pytest.approx(0.6)
    assert np.abs(law.cdf(lam[80:]) - (np.arange(180, 300) + 0.5) / 300).max() < 4 / 300
    assert law.mean() == pytest.approx(zeros[0].mean() * zeros[1].mean())


def test_heavy_values_leave_an_atom_where_they_all_meet():
    low_rank = np.array([1.0, 3.0, 6.0]), np.array([0.8, 0.1, 0.1])
    law = ProductLaw([low_rank, low_rank])
    places, weights = law.atoms()
    np.testing.assert_allclose(places, [1.0])
    np.testing.assert_allclose(weights, [0.6])
    rng = np.random.default_rng(3)
    lam = rotated_product([np.repeat([1.0, 3.0, 6.0], [240, 30, 30])] * 2, rng)
    below = lam < 1 - 1e-9
    assert np.isclose(lam, 1.0).mean() == pytest.approx(0.6)
    assert law.cdf(1 - 1e-9) == pytest.approx(below.mean(), abs=4 / 300)
    assert law.icdf(0.5) == pytest.approx(1.0)


def test_one_factor_that_varies_is_its_own_law():
    law = ProductLaw([RULE, (([2.0], [1.0]), 3)])
    np.testing.assert_allclose(law.atoms()[0], 8 * RULE[0])
    assert law.cdf(8.0) == pytest.approx(0.7)


def test_the_s_transform_is_the_product_of_the_factors():
    law, one = ProductLaw([(RULE, 3)]), ProductLaw([RULE])
    assert law.s_transform(-0.4) == pytest.approx(one.s_transform(-0.4) ** 3, rel=1e-6)
    assert law.s_transform(-0.4, method="formula") == pytest.approx(law.s_transform(-0.4), rel=1e-6)


def test_the_cauchy_transform_has_a_formula_off_the_axis():
    law, z = ProductLaw([(RULE, 3)]), np.array([1.0 + 0.5j, -2.0, 3.0 - 1j])
    formula = law.cauchy_transform(z, method="formula")
    np.testing.assert_allclose(law.cauchy_transform(z), formula, rtol=1e-7)


@pytest.mark.parametrize(
    ("factors", "shapes", "error", "message"),
    [
        ([], None, ValueError, "`factors` is empty"),
        ("abc", None, TypeError, "`factors` is a str"),
        ([3.0], None, TypeError, r"`factors\[0\]` is a float"),
        ([RULE, ([1.0, -1.0], [0.5, 0.5])], None, ValueError, r"the values of `factors\[1\]`"),
        ([([1.0, 2.0], [0.5, 0.6])], None, ValueError, "weights that sum to 1.1"),
        ([([0.0], [1.0])], None, ValueError, r"`factors\[0\]` is 0"),
        ([(RULE, 0)], None, ValueError, r"`factors\[0\]\[1\]` is 0"),
        ([RULE, RULE], [(3, 3), (3, 4)], ValueError, "expected 3 columns"),
        ([RULE], [(1, 2)], ValueError, "has weight 0 at 0"),
        ([RULE], [(3, 3), (3, 3)], ValueError, "2 entries for 1 factors"),
    ],
)
def test_impossible_factors_are_refused_in_a_sentence(factors, shapes, error, message):
    with pytest.raises(error, match=message):
        ProductLaw(factors, shapes)


def test_contributions_of_small_factors_are_their_shares_of_c():
    spreads = np.array([0.01, 0.02, 0.05])
    factors = [([1 - v**0.5, 1 + v**0.5], [0.5, 0.5]) for v in spreads]
    parts = ProductLaw([(f, 8) for f in factors]).contributions()
    np.testing.assert_allclose(parts / parts.sum(), spreads / spreads.sum(), rtol=0.02)


def test_equal_factors_given_once_contribute_together():
    small, large = ([0.8, 1.2], [0.5, 0.5]), ([0.7, 1.3], [0.5, 0.5])
    alone = ProductLaw([small, small, small, large]).contributions()
    together = ProductLaw([(small, 3), large]).contributions()
    np.testing.assert_allclose(together, [alone[:3].sum(), alone[3]], rtol=1e-6)


def test_a_contribution_is_what_the_range_loses_without_the_factor():
    factors = [([1 - v, 1 + v], [0.5, 0.5]) for v in (0.2, 0.3, 0.25, 0.2, 0.3, 0.35)]
    whole, without = ProductLaw(factors), ProductLaw(factors[1:])
    span = [np.diff(law.log_icdf([0.02, 0.98]))[0] for law in (whole, without)]
    assert whole.contributions()[0] == pytest.approx(span[0] - span[1], rel=0.05)


def test_levels_of_contributions_are_checked():
    law = ProductLaw([([0.0, 1.0, 2.0], [0.4, 0.3, 0.3]), RULE, RULE])
    with pytest.raises(ValueError, match="expected 0 < low < high < 1"):
        law.contributions(0.5, 0.4)
    with pytest.raises(ValueError, match=r"`low` is 0\.02, where lam is 0"):
        law.contributions()
    assert law.contributions(0.45, 0.95).shape == (3,)


@pytest.mark.parametrize(
    "factors",
    [
        [([0.6, 1.0, 1.6], [0.3, 0.4, 0.3])] * 5,
        [([0.1, 0.11, 4.0, 4.4], [0.25] * 4), ([0.9, 1.1], [0.5, 0.5])],  # two intervals
        [([0.0, 1.0, 2.0], [0.2, 0.4, 0.4]), ([0.9, 1.1], [0.5, 0.5])],
        [([0.0, 1.0, 2.0], [0.2, 0.4, 0.4])] * 2,
        [([2.0], [1.0])] * 2,
    ],
)
def test_the_edges_without_a_density_are_those_with_one(factors, monkeypatch):
    law = ProductLaw(factors)
    expected = law._held().log_support()
    if len(factors[0][0]) > 1:  # else all is an atom
        monkeypatch.setattr(ProductLaw, "_held", lambda _: pytest.fail("a density was computed"))
    assert law.log_support() == pytest.approx(expected, abs=1e-10)
