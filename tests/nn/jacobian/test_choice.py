import pytest
import torch

from cases_operators import build, small_mlp
from isometry.errors import AccuracyWarning
from isometry.nn.jacobian.jacobian import JacobianOperator


@pytest.fixture
def mlp():
    return small_mlp()


def test_route_says_why_there_is_no_tape():
    J = JacobianOperator(build("complex inside").f, torch.ones(5))
    assert J.route.startswith("autograd: J v by double backward")
    assert "(no tape: " in J.route


def test_forward_mode_replaces_a_missing_second_backward():
    J = JacobianOperator(build("custom function with jvp only").f, torch.ones(5), route="autograd")
    assert J.route.startswith("autograd: J v by forward mode")


def test_loop_replaces_a_missing_batching_rule():
    class Branching(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient if float(gradient.detach().sum()) < 1e9 else gradient

    J = JacobianOperator(Branching.apply, torch.ones(3), route="autograd")
    torch.testing.assert_close(J @ torch.eye(3), 2 * torch.eye(3))


def test_unrecordable_function_refuses_the_tape():
    with pytest.raises(NotImplementedError, match=r"cannot be recorded \(.*complex"):
        JacobianOperator(build("complex inside").f, torch.ones(5), route="tape")


def test_rows_replace_every_other_route_while_they_fit(monkeypatch):
    x = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 3.0]])

    def distances(x):
        return torch.cdist(x, 1 - x)

    J = JacobianOperator(distances, x)
    assert J.route.startswith("autograd: J v by the rows of J")
    expected = torch.autograd.functional.jacobian(distances, x).reshape(J.shape)
    torch.testing.assert_close(J @ torch.eye(6), expected)
    monkeypatch.setattr("isometry.nn.jacobian.routes._ROW_ENTRIES", 10)
    with pytest.raises(NotImplementedError, match=r"no exact product J v .* 5e\+01 entries"):
        JacobianOperator(distances, x)


def test_function_without_any_exact_route_is_refused(monkeypatch):
    monkeypatch.setattr("isometry.nn.jacobian.routes._ROW_ENTRIES", 8)

    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return 2 * gradient

    with pytest.raises(NotImplementedError, match=r"no exact product J v .* give a custom"):
        JacobianOperator(Opaque.apply, torch.ones(3), route="autograd")


def test_backward_that_is_no_derivative_fails_the_adjoint_test():
    class Clipped(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return gradient.sign()

    with pytest.raises(RuntimeError, match=r"fails the adjoint test: .* Likely causes: tensor-par"):
        JacobianOperator(Clipped.apply, torch.ones(3))


def test_overwritten_intermediate_has_no_backward():
    def f(x):
        y = x.sigmoid()
        z = y * 2
        y.mul_(3)
        return z

    with pytest.raises(NotImplementedError, match=r"no backward at `x` .*inplace"):
        JacobianOperator(f, torch.ones(3))


def test_cancellation_inside_f_is_reported_not_refused():
    def f(x):
        return torch.softmax(12 * x, -1)

    with pytest.warns(AccuracyWarning, match="relative rounding error of about"):
        JacobianOperator(f, torch.tensor([0.0, 1.0, 0.1]))


@pytest.mark.parametrize("route", ["tape", "autograd"])
def test_products_after_a_weight_update_are_refused(mlp, route):
    J = JacobianOperator(mlp, torch.ones(3), route=route)
    with torch.no_grad():
        mlp[2].weight.mul_(2)
    with pytest.raises(RuntimeError, match="written to after"):
        J @ torch.ones(3)
