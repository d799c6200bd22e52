import math

import numpy as np
import pytest
from scipy import stats

from isometry.theory.laws import UniversalLaw
from isometry.theory.spectra_comparison import compare_spectra
from isometry.theory.spectrum import Spectrum


def test_two_spectra_have_the_distance_of_scipy():
    rng = np.random.default_rng(0)
    one, other = rng.exponential(size=50), rng.exponential(size=80)
    found = compare_spectra(Spectrum(one), Spectrum(other))
    assert found.ks == pytest.approx(stats.ks_2samp(one, other).statistic, rel=1e-12)
    assert found.largest == pytest.approx(math.sqrt(other.max() / one.max()))
    assert compare_spectra(Spectrum(one), Spectrum(one)).ks == 0.0


def test_what_one_of_two_spectra_does_not_resolve_is_left_out():
    values = np.arange(1.0, 11.0)
    moved = np.where(values < 4, values / 10, values)
    assert compare_spectra(Spectrum(values), Spectrum(moved)).ks > 0.2
    found = compare_spectra(Spectrum(values), Spectrum(moved, unresolved=(0.0, 0.4)))
    assert found.ks == 0.0
    assert found.unresolved == 0.4


def test_only_spectra_with_something_in_them_are_compared():
    with pytest.raises(TypeError, match="`second` is a UniversalLaw; expected a Spectrum"):
        compare_spectra(Spectrum([1.0]), UniversalLaw(1.0))
    with pytest.raises(ValueError, match="`first` has only zeros"):
        compare_spectra(Spectrum([0.0]), Spectrum([1.0]))


def test_values_that_rounding_alone_tells_apart_are_no_distance():
    ones = Spectrum(np.array([1.0, 1.0, 1.0]))
    rounded = Spectrum(1.0 + 8e-7 * np.array([-1.0, 0.5, 1.0]))
    assert compare_spectra(ones, rounded).ks == 0.0
    assert compare_spectra(ones, Spectrum(1.0 + 1e-3 * np.array([-1.0, 0.5, 1.0]))).ks > 0.3
