import math

import numpy as np
import pytest

from cases_laws import LAWS
from isometry.theory.laws import FiniteDepthLaw, ProductLaw, SingularValueLaw, UniversalLaw

NAMES = {law.__name__: law for law in (FiniteDepthLaw, ProductLaw, SingularValueLaw, UniversalLaw)}
METHODS = ("pdf", "logpdf", "cdf", "ccdf")
every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())


def inside(law, count=41):
    atom = law.atoms()[1].sum()
    return law.icdf(atom + (1 - atom) * np.linspace(1e-3, 1 - 1e-3, count))


@every_law
def test_the_density_has_mass_one(law):
    low, high = law.log_support()
    low = max(low, high - 120)  # a hard edge: the rest weighs less than 1e-8
    angle = np.pi * (np.arange(4000) + 0.5) / 4000  # the midpoint rule, geometric in the angle
    lam = np.exp((low + high) / 2 - (high - low) / 2 * np.cos(angle))
    mass = np.mean(law.pdf(lam) * lam * np.sin(angle)) * np.pi * (high - low) / 2
    assert mass + law.atoms()[1].sum() == pytest.approx(1, abs=1e-7)


@every_law
def test_quantiles_invert_the_distribution_function(law):
    p = np.linspace(0.001, 0.999, 200)
    p = p[p > law.atoms()[1].sum()]
    # cdf cannot be better than float64's resolution of lam: density times eps times lam
    resolution = 4e-16 * (1 + law.pdf(law.icdf(p)) * law.icdf(p))
    assert np.all(np.abs(law.cdf(law.icdf(p)) - p) <= 1e-11 + resolution)


@every_law
def test_the_tails_are_complementary_and_monotone(law):
    lam = inside(law)
    np.testing.assert_allclose(law.cdf(lam) + law.ccdf(lam), 1, rtol=0, atol=1e-15)
    assert (np.diff(law.cdf(lam)) > 0).all()


@every_law
def test_the_density_is_the_slope_of_the_distribution_function(law):
    lam = inside(law, 9)
    edge = np.minimum(lam - law.support()[0], law.support()[1] - lam)
    step = np.minimum(1e-5 * lam * min(1.0, math.log(lam[5] / lam[4])), 1e-3 * edge)
    slope = (law.cdf(lam + step) - law.cdf(lam - step)) / (2 * step)
    # central difference: the third derivative times 1e-10, rounding 1e-16 / 1e-6; next to an
    # edge where the density is infinite, 3/4 (1e-3)^2 / 6
    np.testing.assert_allclose(slope, law.pdf(lam), rtol=1e-5)


@every_law
def test_the_log_density_is_the_logarithm_of_the_density(law):
    lam = inside(law)
    np.testing.assert_allclose(np.exp(law.logpdf(lam)), law.pdf(lam), rtol=1e-12)


@every_law
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 4)])
def test_answers_have_the_shape_of_the_question(law, method, shape):
    answer = getattr(law, method)(np.full(shape, law.icdf(0.7)))
    assert np.shape(answer) == shape
    assert not np.isnan(answer).any()


@every_law
def test_off_the_support_nothing_is_left(law):
    low, high = law.support()
    below, above = np.array([-np.inf, -1.0, low - 1e-3 * high]), np.array([high * 1.001, np.inf])
    assert (law.pdf(np.concatenate([below, above])) == 0).all()
    assert (law.logpdf(np.concatenate([below, above])) == -np.inf).all()
    assert (law.cdf(below) == 0).all()
    assert (law.ccdf(below) == 1).all()
    assert (law.cdf(above) == 1).all()
    assert (law.ccdf(above) == 0).all()


@every_law
def test_the_extreme_quantiles_are_the_edges(law):
    np.testing.assert_allclose(law.icdf([0.0, 1.0]), law.support(), rtol=1e-15)


@every_law
def test_samples_come_from_the_generator_given(law):
    first = law.sample((4, 50), rng=np.random.default_rng(3))
    again = law.sample((4, 50), rng=np.random.default_rng(3))
    np.testing.assert_array_equal(first, again)
    uniform = np.sort(law.cdf(first), axis=None)
    gap = np.abs(uniform - (np.arange(200) + 0.5) / 200)[uniform > law.atoms()[1].sum() + 1e-9]
    assert gap.max() < 0.14  # Kolmogorov's 99.9 % point at 200 draws


@every_law
def test_the_representation_gives_the_law_back(law):
    assert eval(repr(law), NAMES) == law
    assert hash(eval(repr(law), NAMES)) == hash(law)


@every_law
def test_the_median_and_the_interval_are_quantiles(law):
    assert law.median() == law.icdf(0.5)
    low, high = law.interval(0.9)
    assert (low, high) == (pytest.approx(law.icdf(0.05)), pytest.approx(law.icdf(0.95)))
    np.testing.assert_allclose(law.interval(1), law.support(), rtol=1e-15)


@every_law
def test_logarithms_of_quantiles_are_those_of_the_quantiles(law):
    p = np.linspace(0, 1, 41)
    lam = law.icdf(p)
    inside = lam > 0
    np.testing.assert_allclose(law.log_icdf(p)[inside], np.log(lam[inside]), rtol=1e-12, atol=1e-13)
    assert (law.log_icdf(p)[~inside] == -np.inf).all()


def test_draws_need_no_generator_and_differ():
    law = LAWS["c=1, scaled"]
    assert law.sample() != law.sample()
    assert law.sample(5).shape == (5,)


@pytest.mark.parametrize("law", [LAWS["c=1, scaled"], LAWS["five Ginibre layers"]])
class TestRefusals:
    @pytest.mark.parametrize("method", [*METHODS, "icdf"])
    def test_nan_is_refused(self, law, method):
        with pytest.raises(ValueError, match="contains NaN"):
            getattr(law, method)([0.5, math.nan])

    @pytest.mark.parametrize("method", [*METHODS, "icdf", "log_icdf", "cauchy_transform"])
    def test_words_are_refused(self, law, method):
        with pytest.raises(TypeError, match="expected"):
            getattr(law, method)("one")

    @pytest.mark.parametrize("p", [-0.1, 1.5])
    def test_probabilities_stay_in_the_unit_interval(self, law, p):
        with pytest.raises(ValueError, match="`p` contains"):
            law.icdf(p)

    @pytest.mark.parametrize("p", [-0.1, 1.5])
    def test_the_mass_of_an_interval_is_a_probability(self, law, p):
        with pytest.raises(ValueError, match="`p` contains"):
            law.interval(p)

    @pytest.mark.parametrize(
        ("shape", "kind"), [(-1, ValueError), (1.5, TypeError), ("a", TypeError)]
    )
    def test_a_shape_is_made_of_lengths(self, law, shape, kind):
        with pytest.raises(kind, match=r"`shape` is .*; expected .*integer"):
            law.sample(shape)

    def test_the_global_generator_is_refused(self, law):
        with pytest.raises(TypeError, match="rng"):
            law.sample(3, rng=np.random)


def test_the_law_of_s_is_the_law_of_the_square_root():
    law, roots = LAWS["c=1, scaled"], LAWS["c=1, scaled"].singular_values()
    s = np.linspace(*roots.support(), 50)[1:-1]
    np.testing.assert_allclose(roots.cdf(s), law.cdf(s**2), rtol=1e-13)
    np.testing.assert_allclose(roots.pdf(s), 2 * s * law.pdf(s**2), rtol=1e-13)
    np.testing.assert_allclose(roots.icdf(0.3) ** 2, law.icdf(0.3), rtol=1e-14)
    assert roots.moment(2) == pytest.approx(law.mean(), rel=1e-13)
    assert roots.condition_number() == law.condition_number()
