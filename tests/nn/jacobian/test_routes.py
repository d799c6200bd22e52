import pytest
import torch
from torch import nn

from isometry import nn as inn
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.jacobian.routes import whole
from isometry.nn.tape import Layout
from isometry.theory.propagation import ResNetSpec


class Counted(nn.Module):
    """Counts its calls where a measurement does not put them back."""

    def __init__(self, width=6):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        Counted.calls = 0

    def forward(self, x):
        Counted.calls += 1
        return x + self.layer(x)


def test_an_operator_costs_two_evaluations():
    model = Counted()
    J = JacobianOperator(model, torch.ones(2, 6))
    assert J.route.startswith("tape")
    assert Counted.calls == 2


def test_a_diagnosis_evaluates_the_model_thrice():
    model = Counted()
    diagnosis = inn.diagnose(model, torch.ones(2, 6), method="dense")
    assert len(diagnosis.blocks) == 1
    assert Counted.calls == 3  # to meet it, to record it, to see which parameters are maps


def test_a_module_with_its_own_jacobian_builds_no_tape(monkeypatch):
    net = inn.ResNet(ResNetSpec("relu", 3, sigma_w=1.0), width=8).double()

    def refuse(*_):
        pytest.fail("a tape was built")

    with monkeypatch.context() as patch:
        patch.setattr("isometry.nn.jacobian.routes.follow", refuse)
        J = JacobianOperator(net, torch.ones(8, dtype=torch.float64))
        dense = J.to_dense()
        assert "own" in J.route
    assert torch.allclose(J @ torch.ones(8, dtype=torch.float64), dense.sum(1))
    assert J.route.startswith("tape")


class Liar(nn.Module):
    def forward(self, x):
        return x.sin()

    def jacobian(self, x):
        return torch.diag(x.sin())


def test_a_wrong_jacobian_of_its_own_is_not_believed():
    x = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    assert torch.allclose(JacobianOperator(Liar(), x).to_dense(), torch.diag(x.cos()))


@pytest.mark.parametrize("shape", [(3, 700), (700, 3)])
def test_unit_vectors_go_through_in_blocks(shape):
    matrix = torch.arange(2100.0).reshape(shape)
    source, image = (Layout((n,), matrix.dtype, matrix.device) for n in shape)
    assert torch.equal(whole(lambda rows: rows @ matrix, source, image), matrix)


def test_the_pass_of_a_tape_is_given_up():
    model = Counted()
    J = JacobianOperator(model, torch.ones(2, 6))
    assert set(vars(J._point)) == {"f", "x", "sandbox"}
