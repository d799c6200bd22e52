import copy

import pytest
import torch
from torch import nn

from cases_operators import (
    OPERATORS,
    ROUNDING,
    WITHOUT_TAPE,
    build,
    finite_difference_jacobian,
    random_block,
    relative,
    small_mlp,
)
from isometry.errors import AccuracyWarning
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.networks.resnet import ResNet
from isometry.theory.propagation import ResNetSpec

# Central differences are good to about 1e-10 of the size of f and its third derivative, which
# are of order one to a hundred here; a wrong product is off by order one.
DIFFERENCES = 2e-8


@pytest.fixture
def mlp():
    return small_mlp()


@pytest.mark.parametrize("name", OPERATORS)
def test_every_route_matches_finite_differences(name):
    row = build(name)
    expected = finite_difference_jacobian(row)
    V, U = random_block(expected.shape[1], 3), random_block(expected.shape[0], 3)
    for route in (None, "autograd"):
        J = JacobianOperator(row.f, row.x, batch_norm=row.batch_norm, route=route)
        assert J.route.startswith("tape") == (route is None and name not in WITHOUT_TAPE)
        assert J.shape == expected.shape
        assert relative(J.to_dense() - expected, expected) < DIFFERENCES
        assert relative(J @ V - expected @ V, expected @ V) < DIFFERENCES
        assert relative(J.T @ U - expected.T @ U, expected.T @ U) < DIFFERENCES
        assert relative(J @ V[:, 0] - (J @ V)[:, 0], V) < ROUNDING
        assert relative(J.T @ U[:, 0] - (J.T @ U)[:, 0], U) < ROUNDING
        assert J.adjoint_gap() < ROUNDING


# --- the interface ---------------------------------------------------------------------------


def test_attributes_describe_the_operator(mlp):
    x = torch.ones(1, 3)
    J = JacobianOperator(mlp, x)
    assert (J.shape, J.input_shape, J.output_shape) == ((2, 3), (1, 3), (1, 2))
    assert (J.dtype, J.device) == (torch.float32, x.device)
    assert torch.equal(J.output, mlp(x))
    assert not J.output.requires_grad
    assert J.batch_norm == "not met"
    assert repr(J).startswith("JacobianOperator(shape=(2, 3), float32, cpu, route='tape")
    assert repr(J.T) == repr(J) + ".T"


def test_transpose_shares_the_linearisation(mlp):
    J = JacobianOperator(mlp, torch.ones(3))
    assert J.T.T is J
    assert J.T.shape == (3, 2)
    assert torch.equal(J.T.to_dense(), J.to_dense().T)
    assert torch.equal(J.T.T @ torch.ones(3), J @ torch.ones(3))


def test_empty_block_gives_empty_product(mlp):
    for route in ("tape", "autograd"):
        J = JacobianOperator(mlp, torch.ones(3), route=route)
        assert (J @ torch.ones(3, 0)).shape == (2, 0)


def test_batch_is_one_block_diagonal_jacobian(mlp):
    x = random_block(2, 3, dtype=torch.float32)
    dense = JacobianOperator(mlp, x).to_dense()
    blocks = [JacobianOperator(mlp, sample).to_dense() for sample in x]
    torch.testing.assert_close(dense, torch.block_diag(*blocks))


def test_dense_matrix_is_built_in_blocks(monkeypatch, mlp):
    J = JacobianOperator(mlp, torch.ones(3))
    expected = J.to_dense()
    monkeypatch.setattr("isometry.nn.tape.waist._BLOCK_ENTRIES", 1)
    torch.testing.assert_close(J.to_dense(), expected)


def test_adjoint_gap_uses_the_given_generator(mlp):
    J = JacobianOperator(mlp, torch.ones(3))
    g = torch.Generator().manual_seed(5)
    first = J.adjoint_gap(generator=g)
    assert J.adjoint_gap(generator=g.manual_seed(5)) == first
    assert 0 <= first < 1e-5  # float32: a few units of 6e-8
    assert J.adjoint_gap() == J.adjoint_gap()


def test_operator_works_in_inference_mode(mlp):
    with torch.inference_mode():
        x = torch.ones(3)
        for route in ("tape", "autograd"):
            J = JacobianOperator(mlp, x, route=route)
            assert relative(J @ x - J.to_dense() @ x, x) < 1e-6


def test_zero_jacobian_is_a_zero_operator():
    head = nn.Linear(3, 2)
    nn.init.zeros_(head.weight)
    for f in (head, lambda x: x.sign()):
        J = JacobianOperator(f, torch.ones(3))
        assert not J.to_dense().any()
        assert J.adjoint_gap() == 0


def test_own_exact_jacobian_is_used_and_agrees():
    spec = ResNetSpec(activation="tanh", depth=5, sigma_w=1.0, sigma_b=0.2, skip=1.0)
    net = ResNet(spec, 8, generator=torch.Generator().manual_seed(0)).double()
    x = random_block(1, 8)
    exact = JacobianOperator(net, x).to_dense()
    by_products = JacobianOperator(lambda x: net(x), x).to_dense()
    assert torch.equal(exact, net.jacobian(x))
    assert relative(exact - by_products, exact) < ROUNDING
    two = JacobianOperator(net, random_block(2, 8)).to_dense()  # its own method takes one sample
    assert two.shape == (16, 16)


def test_foreign_jacobian_method_is_not_believed():
    class Liar(nn.Linear):
        def jacobian(self, x):
            return 2 * self.weight

    f = Liar(3, 3, bias=False)
    torch.testing.assert_close(JacobianOperator(f, torch.ones(3)).to_dense(), f.weight.detach())


def test_parallel_wrapper_is_looked_through(mlp):
    expected = JacobianOperator(mlp, torch.ones(3)).to_dense()
    assert torch.equal(JacobianOperator(nn.DataParallel(mlp), torch.ones(3)).to_dense(), expected)


def test_straight_through_estimator_keeps_its_own_backward():
    def f(x):
        return x + (x.round() - x).detach()

    J = JacobianOperator(f, torch.tensor([0.3, 1.6]))
    assert torch.equal(J.to_dense(), torch.eye(2))


def test_low_precision_output_is_cast_to_the_dtype_of_x(mlp):
    with pytest.warns(AccuracyWarning, match="a lower precision inside `f`"):
        J = JacobianOperator(lambda x: mlp(x).bfloat16(), torch.ones(3))
    assert (J.output.dtype, (J @ torch.ones(3)).dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models_pass_the_adjoint_test(mlp, dtype):
    exact = JacobianOperator(mlp, torch.ones(3)).to_dense()
    J = JacobianOperator(copy.deepcopy(mlp).to(dtype), torch.ones(3, dtype=dtype))
    # Three roundings of the weights and the slope, each of eps / 2.
    assert relative(J.to_dense().float() - exact, exact) < 3 * torch.finfo(dtype).eps


def test_unknown_route_is_refused():
    with pytest.raises(ValueError, match=r"`route` is 'taep'; .* Did you mean 'tape'"):
        JacobianOperator(nn.ReLU(), torch.ones(3), route="taep")
