import numpy as np
import pytest

from isometry.errors import ConvergenceError
from isometry.theory.ensembles import residual_product, squared_singular_values
from isometry.theory.laws.fitting import LEVELS, fitted
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectrum import Spectrum


def exact(c, scale=1.0, size=400):
    return UniversalLaw(c, scale).icdf((np.arange(size) + 0.5) / size)


@pytest.mark.parametrize("c", [1e-3, 0.3, 1.0, 4.0, 12.0])
def test_the_quantiles_of_a_law_give_it_back(c):
    found = UniversalLaw.fit(Spectrum(exact(c, 3.0)))
    assert found.c == pytest.approx(c, rel=2e-3)
    assert found.scale == pytest.approx(3.0, rel=2e-3 * max(c, 1.0))


@pytest.mark.parametrize("c", [0.25, 1.0, 4.0])
def test_a_random_product_is_fitted_within_its_error_and_not_ten_percent_off(c):
    J = residual_product(400, 100, c=c, rng=np.random.default_rng(0))
    found = UniversalLaw.fit(Spectrum(squared_singular_values(J)))
    assert found.c == pytest.approx(c, rel=0.04)  # 2 / sqrt(N L) of c, the 1 / L of depth, levels
    error = found.fit_error[0]
    assert abs(found.c - c) < 2 * error
    assert error < 0.05 * c  # so that c times 1.1 is told
    assert abs(found.c - 1.1 * c) > 0.05 * c


def test_outliers_do_not_count():
    values = np.concatenate([exact(1.0), [1e6, 1e8]])
    assert UniversalLaw.fit(Spectrum(values)).c == pytest.approx(1.0, rel=0.02)


def test_a_point_has_c_0():
    assert UniversalLaw.fit(Spectrum(np.full(5, 2.0))) == UniversalLaw(0.0, 2.0)


def test_the_error_is_no_part_of_what_a_law_is():
    found = UniversalLaw.fit(Spectrum(exact(1.0)))
    assert found == UniversalLaw(found.c, found.scale)
    assert repr(found) == repr(UniversalLaw(found.c, found.scale))
    assert UniversalLaw(1.0).fit_error is None


def test_what_cannot_be_fitted_is_refused():
    zeros = Spectrum(np.concatenate([np.zeros(50), exact(1.0)]))
    with pytest.raises(ValueError, match="11% of its values at 0 or unresolved"):
        UniversalLaw.fit(zeros)
    with pytest.raises(ValueError, match="20% of its values"):
        UniversalLaw.fit(Spectrum(exact(1.0), unresolved=(0.0, 0.2)))
    wide = Spectrum(np.exp(np.linspace(-1, 1, 50) * 300))
    with pytest.raises(ConvergenceError, match="wider than the law"):
        fitted(wide, lambda c: UniversalLaw(min(c, 10.0)).log_icdf(LEVELS))
