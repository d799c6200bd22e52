import math

import numpy as np
import pytest

from isometry.theory.laws.arguments import (
    TINY,
    as_complex,
    check_method,
    check_shape,
    positive,
    within_range,
)


def test_what_is_not_positive_becomes_tiny_and_subnormal_numbers_stay():
    lam = np.array([-1.0, 0.0, 5e-324, 2.0])
    np.testing.assert_array_equal(positive(lam), [TINY, TINY, 5e-324, 2.0])
    assert positive(lam[2:]) is not None
    np.testing.assert_array_equal(positive(lam[3:]), [2.0])


@pytest.mark.parametrize(
    ("shape", "wanted"), [(3, (3,)), ((), ()), ([2, 1], (2, 1)), (np.int64(4), (4,)), (0, (0,))]
)
def test_shapes_are_lengths_in_any_dress(shape, wanted):
    assert check_shape(shape) == wanted


@pytest.mark.parametrize("shape", ["3", 1.5, None, (2, None), b"ab", range(100)])
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises((TypeError, ValueError), match="`shape` is"):
        check_shape(shape)


def test_complex_numbers_are_finite():
    assert as_complex("z", [1, 2j]).dtype == np.complex128
    for bad, match in [(math.inf, "infinite"), (math.nan, "NaN"), (complex(0, -math.inf), "inf")]:
        with pytest.raises(ValueError, match=f"`z` contains.*{match}"):
            as_complex("z", bad)
    for bad in ("1", [[1], [1, 2]], [None]):
        with pytest.raises(TypeError, match="`z` "):
            as_complex("z", bad)


def test_answers_out_of_range_are_counted():
    with pytest.raises(ValueError, match="`w` leads out of float64's range at 2 of 3 points"):
        within_range("w", [1.0, math.inf, math.nan])
    assert within_range("w", 2.0) == 2.0


@pytest.mark.parametrize("method", ["magic", [], None, 3])
def test_an_unknown_method_names_the_known_ones(method):
    with pytest.raises(ValueError, match="expected 'formula' or 'quadrature'"):
        check_method(method, ("formula", "quadrature"))
