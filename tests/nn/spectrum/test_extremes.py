import numpy as np
import pytest
import torch

from cases_matrices import PRODUCT, operator, seeded, with_singular_values
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


REPEATED = {
    "orthogonal": np.ones(60),
    "orthogonal and half off": np.repeat([0.0, 1.0], 30),
    "low rank": np.concatenate([np.zeros(55), np.arange(1.0, 6.0)]),
    "a pair on top": np.concatenate([np.linspace(0.5, 1.0, 58), [5.0, 5.0]]),
    "three alike at the bottom": np.concatenate([[0.1, 0.1, 0.1], np.linspace(0.5, 1.0, 57)]),
    "upsampled": np.repeat([1.0, 2.0, 3.0], 20),
    "zero": np.zeros(60),
}


@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize("shape", [(60, 60), (90, 60), (60, 90)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_repeated_singular_values_count_as_often_as_they_are_there(name, shape, dtype):
    s = np.sort(REPEATED[name])
    J = operator(with_singular_values(*shape, s), dtype)
    for k in (1, 2, 5):
        largest = largest_singular_values(J, k, tolerance=1e-5, generator=seeded(k))
        np.testing.assert_allclose(largest.s, s[::-1][:k], atol=1e-5 * s[-1])
        smallest = smallest_singular_values(J, k, tolerance=1e-5, generator=seeded(k))
        np.testing.assert_allclose(smallest.s, s[:k], atol=1e-5 * s[-1])


def test_all_singular_values_of_a_repeated_spectrum_can_be_asked_for():
    s = np.repeat([1.0, 2.0], 5)
    found = largest_singular_values(operator(with_singular_values(10, 10, s), torch.float64), 10)
    np.testing.assert_allclose(found.s, s[::-1], rtol=1e-9)


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
