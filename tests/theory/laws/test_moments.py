import math

import numpy as np
import pytest

from cases_laws import LAWS
from isometry.theory.laws import FiniteDepthLaw, UniversalLaw

every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())


@every_law
def test_the_two_routes_to_the_mean_agree(law):
    # Gauss rule with 400 nodes a side; the tables are good to 1e-13 at worst
    assert law.moment(1, method="quadrature") == pytest.approx(law.mean(), rel=1e-10)
    assert law.variance() == pytest.approx(
        law.moment(2, method="quadrature") - law.mean() ** 2, rel=1e-6
    )


@pytest.mark.parametrize("law", [LAWS["c=1, scaled"], LAWS["five Ginibre layers"]])
class TestRefusals:
    def test_an_unknown_method_is_refused(self, law):
        with pytest.raises(ValueError, match="`method` is 'magic'; expected 'formula' or"):
            law.moment(1, method="magic")

    def test_a_moment_beyond_float64_is_refused(self, law):
        with pytest.raises(ValueError, match="within float64's range"):
            law.moment(400)


@every_law
def test_the_variance_agrees_with_draws_by_quantiles(law):
    # midpoints of 2e5 equal masses; the tail beyond the last carries little of lam^2
    lam = law.icdf((np.arange(200_000) + 0.5) / 200_000)
    assert law.variance() == pytest.approx(lam.var(), rel=2e-2)
    assert law.std() == pytest.approx(math.sqrt(law.variance()), rel=1e-12)


def test_the_variance_of_a_narrow_law_does_not_cancel():
    # Var lam = 2 s + s^2 for one Ginibre layer X + 1
    for s in (1e-3, 1e-5, 1e-7):
        law = FiniteDepthLaw.ginibre([s], skip=1.0)
        assert law.variance() == pytest.approx(2 * s + s * s, rel=1e-8)


def test_moments_of_huge_orders_end_in_a_sentence_or_in_zero():
    law = UniversalLaw(1e-8)
    for order in (1e308, -1e308):
        with pytest.raises(ValueError, match=r"`n` = .*within float64's range"):
            law.moment(order)
    shrunk = UniversalLaw(1e-8, 0.5)
    assert shrunk.moment(1e308) == 0.0


def test_the_standard_deviation_survives_where_the_variance_does_not():
    law = UniversalLaw(1.0, 1e200)
    assert law.std() == pytest.approx(1e200 * math.e * math.sqrt(2), rel=1e-12)
    with pytest.raises(ValueError, match="The variance is exp"):
        law.variance()


@pytest.mark.parametrize("scale", [1.0, 3.7, 1e-200])
def test_the_spread_of_log_lam_knows_no_scale(scale):
    law = UniversalLaw(0.5, scale)
    assert law.log_mean() == pytest.approx(math.log(scale), abs=1e-9)
    assert law.log_variance() == pytest.approx(2 * 0.5 + 0.25 / 3, rel=1e-9)
