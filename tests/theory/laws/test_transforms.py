import math

import numpy as np
import pytest

from cases_laws import LAWS, POINTS
from isometry.theory.laws import SingularValueLaw, UniversalLaw

every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())


@every_law
def test_the_s_transform_inverts_the_cauchy_transform(law):
    w = -0.3
    x = w * law.s_transform(w) / (1 + w)  # psi(x) = w, and psi(x) + 1 = G(1/x) / x
    np.testing.assert_allclose(law.cauchy_transform(1 / x) / x - 1, w, rtol=1e-9)


def test_the_law_of_s_has_no_formula_for_its_transforms():
    law = LAWS["s at c=1"]
    with pytest.raises(NotImplementedError, match="has no formula"):
        law.cauchy_transform(1j, method="formula")
    with pytest.raises(NotImplementedError, match="has no formula"):
        law.s_transform(-0.5, method="formula")


@pytest.mark.parametrize("law", [LAWS["c=1, scaled"], LAWS["five Ginibre layers"]])
class TestRefusals:
    def test_the_cauchy_transform_is_refused_on_the_support(self, law):
        with pytest.raises(ValueError, match="touches the support"):
            law.cauchy_transform([1j, law.icdf(0.5)])

    def test_nan_is_refused_by_the_cauchy_transform(self, law):
        with pytest.raises(ValueError, match="contains NaN"):
            law.cauchy_transform(math.nan)

    @pytest.mark.parametrize("w", [0.0, -1.0, 0.5])
    def test_the_s_transform_states_its_range(self, law, w):
        with pytest.raises(ValueError, match="expected a number > -1 and < 0"):
            law.s_transform(w)


def test_no_answer_leaves_float64_in_silence():
    with pytest.raises(ValueError, match="`w` leads out of float64's range at 1 of 1 points"):
        UniversalLaw(1000.0, 1e-3).s_transform(-0.999, method="formula")
    with pytest.raises(ValueError, match="`z` contains an infinite number"):
        UniversalLaw(1.0).cauchy_transform(complex(0, math.inf))


def test_both_routes_agree_where_lam_leaves_float64_and_where_the_scale_is_extreme():
    for law in (UniversalLaw(351.0, 1e300), UniversalLaw(2.0, 1e-300), UniversalLaw(2.0, 1e300)):
        z = law.scale * (1 + 1j)
        np.testing.assert_allclose(
            law.cauchy_transform(z), law.cauchy_transform(z, method="formula"), rtol=1e-8
        )


@pytest.mark.parametrize("law", POINTS.values(), ids=POINTS.keys())
def test_the_s_transform_of_a_point_mass_is_the_inverse_of_its_place(law):
    (place,), _ = law.atoms()
    assert law.s_transform(-0.4) == pytest.approx(1 / place, rel=1e-12)
    if not isinstance(law, SingularValueLaw):
        assert law.s_transform(-0.4, method="formula") == pytest.approx(1 / place, rel=1e-12)
