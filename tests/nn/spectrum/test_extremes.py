import numpy as np
import pytest
import torch

from cases_matrices import PRODUCT, operator, seeded
from isometry.errors import ConvergenceError
from isometry.nn.spectrum.extremes import largest_singular_values, smallest_singular_values


def test_the_largest_and_smallest_singular_values_match_an_svd():
    J = operator(PRODUCT, torch.float64)
    s = np.linalg.svd(PRODUCT, compute_uv=False)
    largest = largest_singular_values(J, 3, generator=seeded())
    np.testing.assert_allclose(largest.s, s[:3], rtol=1e-6)
    smallest = smallest_singular_values(J, 2, generator=seeded())
    np.testing.assert_allclose(smallest.s, s[::-1][:2], rtol=1e-3)
    assert (largest.error <= 1e-6 * largest.s).all()
    assert largest.num_matvecs < 300


CALLS = {
    "k": (lambda J: largest_singular_values(J, 401), ValueError, "`k` is 401"),
    "tolerance": (
        lambda J: largest_singular_values(J, tolerance=0.0),
        ValueError,
        "`tolerance` is 0",
    ),
    "convergence": (
        lambda J: smallest_singular_values(J, max_matvecs=10, tolerance=1e-9),
        ConvergenceError,
        "`max_matvecs` is 10",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_call_is_refused_in_one_sentence(name):
    call, error, match = CALLS[name]
    with pytest.raises(error, match=match):
        call(operator(PRODUCT))
