import math

import numpy as np
import pytest

from isometry.theory.spectrum import Spectrum


def test_spectrum_sorts_its_values_with_their_companions():
    spectrum = Spectrum([3.0, 1.0, 2.0], [0.5, 0.2, 0.3], [0.03, 0.01, 0.02])
    np.testing.assert_array_equal(spectrum.values, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(spectrum.weights, [0.2, 0.3, 0.5])
    np.testing.assert_array_equal(spectrum.standard_error, [0.01, 0.02, 0.03])


def test_spectrum_answers_in_lam_and_in_s():
    spectrum = Spectrum([1.0, 4.0, 16.0, 64.0], provenance="by hand")
    np.testing.assert_array_equal(spectrum.cdf([0.5, 1.0, 20.0, 64.0]), [0.0, 0.25, 0.75, 1.0])
    np.testing.assert_array_equal(spectrum.icdf([0.0, 0.25, 0.26, 1.0]), [1.0, 1.0, 4.0, 64.0])
    np.testing.assert_array_equal(spectrum.singular_values(), [1.0, 2.0, 4.0, 8.0])
    assert spectrum.condition_number() == 8.0
    assert repr(spectrum) == "Spectrum(4 values of lam in [1, 64], by hand)"
    assert Spectrum([0.0, 1.0]).condition_number() == math.inf


def test_dimension_counts_values_or_even_weights():
    assert Spectrum([1.0, 2.0, 3.0]).dimension == 3
    assert Spectrum([1.0, 2.0, 3.0], [0.5, 0.5, 0.0]).dimension == 2
    assert Spectrum([1.0], dimension=70).dimension == 70


def test_spectrum_of_a_matrix_is_that_of_its_gram_matrix():
    J = np.random.default_rng(3).standard_normal((5, 9))
    spectrum = Spectrum.from_matrix(J)
    np.testing.assert_allclose(spectrum.values, np.linalg.eigvalsh(J @ J.T), rtol=1e-12)
    assert spectrum.provenance == "dense"


def test_a_spectrum_becomes_plain_data():
    assert Spectrum([1.0]).to_dict()["weights"] == [1.0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, r"`values` has shape \(0,\)"),
        (([[1.0]],), ValueError, r"`values` has shape \(1, 1\)"),
        (([-1.0],), ValueError, "`values` contains -1"),
        (([math.nan],), ValueError, "`values` contains NaN"),
        (([math.inf],), ValueError, "`values` contains inf"),
        ((["a"],), TypeError, "`values` has dtype"),
        (([1.0], [0.5, 0.5]), ValueError, r"`weights` has shape \(2,\); expected \(1,\)"),
        (([1.0, 2.0], [0.5, 0.4]), ValueError, "`weights` sum to 0.9"),
        (([1.0, 2.0], [1.5, -0.5]), ValueError, "`weights` contains -0.5"),
        (([1.0, 2.0], None, [0.1]), ValueError, "`standard_error` has shape"),
        (([1.0], None, None, "x", -2), ValueError, "`dimension` is -2"),
        (([1.0], None, None, "x", 2.5), TypeError, "`dimension` is 2.5"),
    ],
)
def test_bad_spectrum_is_refused_at_birth(arguments, error, message):
    with pytest.raises(error, match=message):
        Spectrum(*arguments)


def test_quantile_levels_are_probabilities():
    with pytest.raises(ValueError, match="`p` contains 2"):
        Spectrum([1.0]).icdf(2.0)


@pytest.mark.parametrize("J", [np.ones(3), np.empty((0, 2)), np.full((2, 2), np.inf)])
def test_spectrum_of_no_finite_matrix_is_refused(J):
    with pytest.raises(ValueError, match="`J` has shape"):
        Spectrum.from_matrix(J)


def test_a_number_is_answered_by_a_number():
    spectrum = Spectrum([0.5, 1.0, 2.0])
    assert spectrum.icdf(0.5) == 1.0
    assert spectrum.cdf(1.0) == pytest.approx(2 / 3)
    assert np.ndim(spectrum.icdf(0.5)) == np.ndim(spectrum.cdf(1.0)) == 0


def test_a_matrix_whose_squares_leave_float64_is_refused():
    with pytest.raises(ValueError, match="`J` has a singular value of 1e"):
        Spectrum.from_matrix(np.array([[1e200]]))
