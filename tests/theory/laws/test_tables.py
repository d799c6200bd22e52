import math

import numpy as np
import pytest

from isometry.theory.laws import FiniteDepthLaw, UniversalLaw
from isometry.theory.prediction import finite_depth_law
from isometry.theory.propagation import ResNetSpec

FAR = [
    ("mish", 100, 0.1376, 0.3, 0.5),
    ("relu", 200, 0.1, 0.0, 0.9),
    ("tanh", 100, 0.1, 0.0, 0.8),
    ("tanh", 10, 0.05, 0.0, 0.5),
    ("tanh", 100, 0.1, 0.0, 1.5),  # far above lam = 1
]


@pytest.mark.parametrize(("name", "depth", "sigma_w", "sigma_b", "skip"), FAR)
def test_a_narrow_support_far_from_one_is_read_relative_to_its_own_place(
    name, depth, sigma_w, sigma_b, skip
):
    law = finite_depth_law(
        ResNetSpec(name, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b, skip=skip)
    )
    p = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    assert np.ptp(law.log_support()) < 1.0
    np.testing.assert_allclose(law.cdf(law.icdf(p)), p, atol=1e-9)
    np.testing.assert_allclose(law.ccdf(law.icdf(p)), 1 - p, atol=1e-9)
    step = 1e-4 * (law.log_support()[1] - law.log_support()[0])
    lam = law.icdf(0.4)
    slope = (law.cdf(lam * (1 + step)) - law.cdf(lam * (1 - step))) / (2 * step * lam)
    assert law.pdf(lam) == pytest.approx(slope, rel=1e-5)


def test_shrinking_all_layers_moves_the_law_and_changes_nothing_else():
    plain = FiniteDepthLaw.ginibre(np.full(200, 1e-4))
    shrunk = FiniteDepthLaw.ginibre(np.full(200, 0.81e-4), skip=0.9)
    lam = plain.icdf(np.linspace(0.05, 0.95, 7))
    np.testing.assert_allclose(shrunk.cdf(0.9**400 * lam), plain.cdf(lam), atol=1e-9)


WIDE = [
    UniversalLaw(c, scale)
    for c, scale in [
        *((1.0, 1.0), (300.0, 1.0), (349.0, 1.0), (360.0, 1.0), (1000.0, 1.0), (1e5, 1.0)),
        *((30.0, 1e-300), (1.0, 1e-307), (0.1, 1e-308), (1.0, 5e-324), (351.0, 1e300)),
    ]
]
HARD = [FiniteDepthLaw.ginibre([1.0] * 3, skip=0), FiniteDepthLaw([[0.0, 2.0]], [0.5, 0.5], 0)]


@pytest.mark.parametrize("law", [*WIDE, *HARD], ids=str)
def test_nothing_lies_at_or_below_zero(law):
    for one in (law, law.singular_values()):
        lam = np.array([-math.inf, -1.0, -1e-320])
        assert (one.pdf(lam) == 0).all()
        assert (one.cdf(lam) == 0).all()
        assert (one.ccdf(lam) == 1).all()
        assert (one.logpdf(lam) == -math.inf).all()
        assert one.cdf(0.0) == one.atoms()[1].sum()
        assert one.logpdf(0.0) == -math.inf


@pytest.mark.parametrize("c", [5e-324, 1e-310, 1e-300, 1e-200, 1e-163, 1e-40, 1e-33, 1e-20])
def test_laws_of_tiny_c_answer_numbers(c):
    law = UniversalLaw(c)
    np.testing.assert_allclose(law.cdf([0.999, 1.0, 1.001]), [0, 0.5, 1], atol=1e-12)
    np.testing.assert_allclose(law.icdf([0.1, 0.5, 0.9]), 1.0, rtol=1e-9)
    # a semicircle of variance 2 c in log lam: its density at the middle, its edges
    assert law.pdf(1.0) == pytest.approx(1 / (math.pi * math.sqrt(2 * c)), rel=1e-3)
    assert law.log_support()[1] == pytest.approx(2 * math.sqrt(2 * c), rel=1e-3)
    assert law.log_icdf(0.9) == pytest.approx(0.687 * law.log_support()[1], rel=1e-2)


def test_the_law_of_s_answers_where_lam_has_left_float64():
    law = UniversalLaw(1000.0)
    roots, p = law.singular_values(), np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(roots.cdf(roots.icdf(p)), p, atol=1e-9)
    np.testing.assert_allclose(roots.log_icdf(p), law.log_icdf(p) / 2, rtol=1e-14)
    with pytest.raises(ValueError, match=r"`p` contains 0\.9, whose quantile exceeds"):
        law.icdf(0.9)
    with pytest.raises(ValueError, match="upper edge at exp"):
        law.sample(3)


def test_a_density_beyond_float64_is_refused_with_a_way_out():
    law = UniversalLaw(1e-300, 1e-300)
    with pytest.raises(ValueError, match="`lam` contains 1e-300, where the density exceeds"):
        law.pdf(1e-300)
    assert law.logpdf(1e-300) == pytest.approx(
        math.log(1e300) - math.log(math.pi * math.sqrt(2e-300))
    )


def test_subnormal_places_are_not_rounded_up():
    law = UniversalLaw(1000.0)
    assert law.cdf(5e-324) < law.cdf(1e-310) < law.cdf(1e-300)
