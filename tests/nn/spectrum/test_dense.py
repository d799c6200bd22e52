import numpy as np
import pytest
import torch

from cases_matrices import PRODUCT, operator, seeded, with_singular_values
from isometry.nn.spectrum.dense import matrix_spectrum, top_left_vector


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dense_keeps_the_small_singular_values_of_an_ill_conditioned_matrix(dtype):
    s = np.logspace(-5.5, 0, 100)  # float32 resolves s to eps * s_max = 1.2e-7: 4 % at 3e-6
    received = matrix_spectrum(torch.as_tensor(with_singular_values(100, 100, s)).to(dtype))
    np.testing.assert_allclose(received.singular_values(), s, rtol=0.05)


@pytest.mark.parametrize(("dtype", "zeros"), [(torch.float32, 37), (torch.float64, 0)])
def test_values_that_rounding_hides_are_zero(dtype, zeros):
    s = np.logspace(-10, 0, 101)  # 37 lie below 4 eps = 4.8e-7; rounding may lift one or two
    spectrum = matrix_spectrum(torch.as_tensor(with_singular_values(120, 101, s)).to(dtype))
    assert np.count_nonzero(spectrum.values == 0) == pytest.approx(zeros, abs=2)


@pytest.mark.parametrize("shape", [(60, 5000), (5000, 60), (300, 5000), (600, 513)])
def test_a_long_matrix_is_summed_up_by_parts(shape):
    matrix = torch.randn(shape, generator=seeded())
    expected = torch.linalg.svdvals(matrix.double()).flip(0)
    np.testing.assert_allclose(matrix_spectrum(matrix).singular_values(), expected, rtol=1e-6)


def test_the_largest_left_vector_is_that_of_an_svd():
    matrix = PRODUCT + 50 * np.outer(np.ones(400), np.ones(400)) / 400
    left, s, right = (torch.as_tensor(part) for part in np.linalg.svd(matrix))
    J = operator(matrix)
    shares_columns, shares_rows = s[:300, None] * right[:300], left[:, :300] * s[:300]
    for small in (J.to_dense(), shares_columns, shares_rows):
        u = top_left_vector(J, small.to(J.dtype), seeded()).double()
        assert abs(float(u @ left[:, 0])) == pytest.approx(1.0, abs=1e-5)
