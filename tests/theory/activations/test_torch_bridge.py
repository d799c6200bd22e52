import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isometry.errors import TheoryWarning
from isometry.theory.activations.lookup import activation, activation_names
from isometry.theory.gaussian import gaussian_moments

JUMPS = pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")


@JUMPS
@pytest.mark.parametrize("name", activation_names())
def test_torch_functions_are_recognised_by_identity(name):
    function = getattr(F, name, None) or getattr(torch, name, None)
    if name != "linear" and function is not None:
        assert activation(function) == activation(name)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.25))

    def forward(self, x):
        return torch.where(x > 0.4, x - 0.4, self.slope * (x - 0.4))


def test_an_unknown_module_is_neither_changed_nor_kept():
    module = Gated().train()
    before = copy.deepcopy(module.state_dict())
    act = activation(module)
    assert module.training
    assert module.slope.dtype == torch.float32
    assert module.slope.grad is None
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    with torch.no_grad():
        module.slope.fill_(9.0)
    assert act(np.array([-0.6])) == pytest.approx(-0.25)


def test_autograds_slope_is_used_even_under_no_grad():
    with torch.no_grad():
        act = activation(lambda x: x.sin() * 2.0)
        assert act.dphi(np.zeros(1)) == pytest.approx(2.0)


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0]


def test_a_straight_through_derivative_is_taken_as_autograd_gives_it():
    with pytest.warns(TheoryWarning, match="jumps"):
        act = activation(Rounded.apply)
    assert gaussian_moments(act, 1.0).slope_square == pytest.approx(1.0)
