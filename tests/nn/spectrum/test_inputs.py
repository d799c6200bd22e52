import numpy as np
import pytest
import torch

from cases_matrices import operator, product, seeded
from isometry.errors import AccuracyWarning
from isometry.nn.spectrum.inputs import Restricted, heavy_inputs, shorter_side
from isometry.nn.spectrum.spectrum import measure, singular_spectrum

SIZE, FEW, SIDE = 4000, 36, 8


def blocks(factor):
    """Blocks of a matrix; in 36 of them the first column is stretched by factors around one."""
    rng = np.random.default_rng(0)
    made = np.eye(SIDE) + 0.15 * rng.normal(size=(SIZE // SIDE, SIDE, SIDE))
    made[:FEW, :, 0] *= factor * np.linspace(1, 3, FEW)[:, None]
    return made.astype(np.float32)


class BlockOperator:
    """A matrix of blocks along the diagonal, multiplied block by block."""

    shape, dtype, device = (SIZE, SIZE), torch.float32, torch.device("cpu")

    def __init__(self, parts):
        self.parts = parts

    def __matmul__(self, v):
        return (self.parts @ v.reshape(len(self.parts), SIDE, -1)).reshape(v.shape)

    @property
    def T(self):
        return BlockOperator(self.parts.mT)

    def to_dense(self):
        return torch.block_diag(*self.parts)


def stretched(factor):
    return BlockOperator(torch.as_tensor(blocks(factor)))


@pytest.fixture(scope="module")
def heavy():
    return stretched(10.0)


def found(J):
    return heavy_inputs(shorter_side(J, seeded(1)), seeded(2))


def test_heavy_columns_are_found_and_equal_ones_are_not(heavy):
    places = found(heavy).nonzero().flatten()
    assert places.tolist() == [SIDE * block for block in range(FEW)]
    assert found(stretched(0.3)) is None  # between .3 and .9: no column stands out


def test_many_heavy_columns_are_a_part_of_the_bulk():
    assert found(operator(product(400, 5, 0.5) * np.where(np.arange(400) < 40, 10, 1))) is None


def test_a_restricted_operator_is_the_matrix_of_those_columns():
    matrix = torch.randn(5, 4, generator=seeded(0))
    kept = torch.tensor([True, False, True, False])
    A = Restricted(operator(matrix.numpy()), kept)
    v, u = torch.randn(2, 3), torch.randn(5, 3)
    torch.testing.assert_close(A @ v, matrix[:, kept] @ v)
    torch.testing.assert_close(A.T @ u, matrix[:, kept].T @ u)
    torch.testing.assert_close(A.to_dense(), matrix[:, kept])
    torch.testing.assert_close(A.T.T.T.to_dense(), matrix[:, kept].T)


def test_outliers_of_heavy_columns_cost_no_steps_and_move_little(heavy):
    apart = singular_spectrum(heavy, "lanczos", generator=seeded(0))
    with pytest.warns(AccuracyWarning, match="unresolved"):
        together = singular_spectrum(heavy, "lanczos", num_matvecs=30, generator=seeded(0))
    truth = np.sort(np.linalg.svd(blocks(10.0), compute_uv=False).ravel()) ** 2
    at = np.concatenate([np.linspace(0.01, 5, 500), np.linspace(50, 1000, 500)])
    exact = np.searchsorted(truth, at) / SIZE

    def distance(spectrum):
        return float(np.abs(spectrum.cdf(at) - exact).max())

    assert "36 inputs of far more stretch" in apart.provenance
    assert "inputs" not in together.provenance
    # six probes of 4,000 entries: a standard error of .0032, and 36/4000 for the interlacing
    assert distance(apart) < 3 * 0.0032 + FEW / SIZE
    assert distance(together) > 2 * distance(apart)
    assert apart.weights[apart.values > 50].sum() * SIZE == pytest.approx(FEW, abs=0.5)
    assert apart.values[-1] == pytest.approx(truth[-1], rel=0.01)


def test_the_direction_of_the_largest_value_comes_from_the_heavy_run(heavy):
    lefts, s, rights = np.linalg.svd(blocks(10.0))
    top = int(s[:, 0].argmax())
    for A, side in ((heavy, lefts[top, :, 0]), (heavy.T, rights[top, 0])):
        direction = measure(A, "lanczos", generator=seeded(0)).top_direction().numpy()
        assert abs(direction[SIDE * top : SIDE * (top + 1)] @ side) > 0.99
