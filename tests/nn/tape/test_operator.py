import pytest
import torch

from cases_operators import random_block, small_mlp
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.tape import MatrixFreeOperator, Transpose


class Matrix(MatrixFreeOperator):
    """A dense matrix that counts the blocks it is multiplied with."""

    def __init__(self, entries):
        self.entries, self.blocks = entries, []
        self.shape, self.dtype, self.device = tuple(entries.shape), entries.dtype, entries.device

    @property
    def T(self):
        return Transpose(self)

    def to_dense(self):
        return self.entries

    def _rows(self, V):
        self.blocks.append(len(V))
        return V @ self.entries.T

    def _transposed_rows(self, U):
        self.blocks.append(-len(U))
        return U @ self.entries


@pytest.fixture
def mlp():
    return small_mlp()


@pytest.fixture
def matrix():
    return Matrix(torch.arange(6.0).reshape(2, 3))


def test_products_with_unit_vectors_are_the_dense_matrix_and_its_transpose(matrix):
    assert torch.equal(matrix @ torch.eye(3), matrix.to_dense())
    assert torch.equal(matrix.T @ torch.eye(2), matrix.T.to_dense())
    assert torch.equal(matrix.T.to_dense(), matrix.to_dense().T)


def test_the_transpose_swaps_the_products_and_undoes_itself(matrix):
    assert matrix.T.T is matrix
    assert matrix.T.shape == (3, 2)
    assert torch.equal(matrix.T @ torch.tensor([1.0, 10.0]), torch.tensor([30.0, 41.0, 52.0]))
    assert matrix.blocks == [-1]


def test_the_columns_of_a_block_are_multiplied_at_once_and_none_not_at_all(matrix):
    assert (matrix @ torch.ones(3, 4)).shape == (2, 4)
    assert (matrix.T @ torch.ones(2, 0)).shape == (3, 0)
    assert matrix.blocks == [4]


def test_the_shape_that_is_asked_for_is_that_of_the_side(matrix):
    with pytest.raises(ValueError, match=r"shape \(3,\); expected \(2,\) or \(2, k\)"):
        matrix.T @ torch.ones(3)


def test_a_product_with_a_tensor_keeps_no_graph(matrix):
    assert not (matrix @ torch.ones(3, requires_grad=True)).requires_grad


def test_scipy_bridge_multiplies_float64_arrays(mlp):
    J = JacobianOperator(mlp, torch.ones(3))
    A, dense = J.to_scipy(), J.to_dense().double().numpy()
    V, U = random_block(3, 2).numpy(), random_block(2, 2).numpy()
    assert A.shape == (2, 3)
    for product, expected in (
        (A @ V, dense @ V),
        (A @ V[:, 0], dense @ V[:, 0]),
        (A.T @ U, dense.T @ U),
        (A.H @ U[:, 0], dense.T @ U[:, 0]),
        (J.T.to_scipy() @ U, dense.T @ U),
    ):
        assert product.dtype == "float64"
        assert abs(product - expected).max() < 1e-6  # the model is float32


@pytest.mark.parametrize(
    ("v", "kind", "message"),
    [
        ([1.0, 2.0, 3.0], TypeError, "operand is a list; expected a torch.Tensor"),
        (torch.ones(3, dtype=torch.float64), TypeError, r"dtype torch.float64; .*v.to\(J.dtype\)"),
        (torch.ones(3, dtype=torch.int64), TypeError, "dtype torch.int64; expected torch.float32"),
        (torch.ones(2), ValueError, r"shape \(2,\); expected \(3,\) or \(3, k\)"),
        (torch.ones(1, 3), ValueError, r"shape \(1, 3\); expected"),
        (torch.ones(()), ValueError, r"shape \(\); expected"),
        (torch.ones(3, device="meta"), ValueError, "is on meta; expected cpu"),
        (torch.full((3,), torch.inf), ValueError, "operand contains NaN or inf"),
    ],
)
def test_bad_operand_is_refused(mlp, v, kind, message):
    with pytest.raises(kind, match=message):
        JacobianOperator(mlp, torch.ones(3)) @ v


def test_overflowing_product_is_refused():
    J = JacobianOperator(lambda x: 1e30 * x, torch.ones(3))
    with pytest.raises(ValueError, match=r"product overflows torch.float32"):
        J @ torch.full((3,), 1e20)


def bottleneck(width):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(width, 20), torch.nn.Linear(20, 2 * width))


@pytest.mark.parametrize("route", ["tape", "autograd"])
def test_a_recording_bounds_the_rank_and_makes_the_matrix_small(route):
    J = JacobianOperator(bottleneck(70), torch.ones(70), route=route)
    small = J.compact()
    assert J.rank_bound == J.T.rank_bound == (20 if route == "tape" else 70)
    assert min(small.shape) == J.rank_bound
    assert torch.equal(J.T.compact(), small.T)
    expected = torch.linalg.svdvals(J.to_dense())[:20]
    torch.testing.assert_close(torch.linalg.svdvals(small)[:20], expected, rtol=1e-4, atol=1e-6)


def test_a_small_matrix_is_written_out_as_it_is():
    J = JacobianOperator(bottleneck(30), torch.ones(30))
    assert torch.equal(J.compact(), J.to_dense())
