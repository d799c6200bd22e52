import numpy as np
import pytest
import torch

from cases_matrices import PRODUCT, operator, seeded, with_singular_values
from isometry.nn.spectrum import lanczos


def start(J, probes=2, seed=0):
    seen = torch.ones(J.shape[1], dtype=torch.bool)
    return lanczos.random_probes(J, probes, seen, seeded(seed))


def test_the_outermost_singular_values_of_the_bidiagonal_matrix_are_those_of_the_operator():
    J = operator(PRODUCT, torch.float64)
    ritz = lanczos.ritz_values(lanczos.GolubKahan(J, start(J), 120).advance(120))
    s = np.linalg.svd(PRODUCT, compute_uv=False)
    np.testing.assert_allclose(ritz.theta[:, :5], np.tile(s[:5], (2, 1)), rtol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_basis_of_the_input_side_stays_orthonormal(dtype):
    s = np.concatenate([[1e3], np.linspace(0.5, 2, 199)])  # an outlier converges and comes back
    J = operator(with_singular_values(300, 200, s), dtype)
    basis = lanczos.GolubKahan(J, start(J), 100).advance(100).basis
    gram = basis @ basis.transpose(1, 2) - torch.eye(100, dtype=dtype)
    assert float(gram.abs().max()) < 50 * torch.finfo(dtype).eps


def test_going_on_is_the_same_as_going_at_once():
    J = operator(PRODUCT)
    steps = lanczos.GolubKahan(J, start(J), 30)
    steps.advance(10)
    at_once = lanczos.GolubKahan(J, start(J), 30).advance(30)
    np.testing.assert_array_equal(steps.advance(30).alpha, at_once.alpha)


def test_known_vectors_are_kept_away_from():
    s = np.concatenate([[10.0], np.linspace(0.5, 2, 99)])
    matrix = with_singular_values(100, 100, s)
    J = operator(matrix, torch.float64)
    top = torch.as_tensor(np.linalg.svd(matrix)[2][:1])
    v = start(J, 1)
    v = torch.nn.functional.normalize(v - (v @ top.T) @ top, dim=1)
    ritz = lanczos.ritz_values(lanczos.GolubKahan(J, v, 60, known=top).advance(60))
    assert ritz.theta.max() == pytest.approx(2.0, rel=1e-4)


def test_entries_that_are_not_seen_are_zero_in_the_probes():
    J = operator(PRODUCT)
    seen = torch.arange(400) % 2 == 0
    probes = lanczos.random_probes(J, 3, seen, seeded())
    assert not probes[:, ~seen].any()
    torch.testing.assert_close(probes.norm(dim=1), torch.ones(3))


def test_a_krylov_space_that_ends_is_cut_where_it_ends():
    s = np.concatenate([np.full(50, 3.0), np.full(50, 1.0)])
    J = operator(with_singular_values(100, 100, s), torch.float64)
    ended = lanczos.GolubKahan(J, start(J, 1), 20).advance(20).ended()
    assert ended.alpha.shape == (1, 2)
    np.testing.assert_allclose(lanczos.ritz_values(ended).theta, [[3.0, 1.0]], rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("zeros", [6, 20, 60])
def test_the_recursion_stays_bounded_beyond_the_rank(zeros, dtype):
    s = np.concatenate([np.zeros(zeros), np.linspace(0.5, 2, 96 - zeros)])
    J = operator(with_singular_values(96, 96, s), dtype)
    ritz = lanczos.ritz_values(lanczos.GolubKahan(J, start(J, 8), 96).advance(96))
    assert ritz.theta.max() == pytest.approx(2.0, rel=1e-5)
    np.testing.assert_allclose(
        ritz.theta[:, : 96 - zeros], np.tile(s[zeros:][::-1], (8, 1)), rtol=1e-3
    )


def test_the_vector_of_the_largest_value_is_that_of_an_svd():
    J = operator(PRODUCT, torch.float64)
    v = lanczos.top_vector(lanczos.GolubKahan(J, start(J), 120).advance(120))
    expected = torch.as_tensor(np.linalg.svd(PRODUCT)[2][0])
    assert abs(float(v @ expected)) == pytest.approx(1.0, abs=1e-6)


def test_the_residual_of_a_ritz_value_is_what_the_transpose_leaves_over():
    source = torch.Generator().manual_seed(0)
    matrix = torch.randn(30, 30, generator=source, dtype=torch.float64)
    J = operator(matrix, torch.float64)
    found = lanczos.GolubKahan(J, start(J, 1), 12).advance(12)
    ritz = lanczos.ritz_values(found)
    right = found.basis[0].numpy().T @ ritz.right[0].T  # columns: approximate right vectors
    image = matrix.numpy() @ right
    left = image / np.linalg.norm(image, axis=0)
    over = matrix.numpy().T @ left - right * ritz.theta[0]
    np.testing.assert_allclose(np.linalg.norm(over, axis=0), ritz.residuals[0], rtol=1e-9)
    assert ritz.residuals[0].max() > 0.1
