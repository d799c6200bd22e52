import pytest
import torch
from torch import nn
from torch.nn.functional import silu

from cases_modules import stack
from isometry import nn as inn
from isometry.nn.init.init import plan


class Gated(nn.Module):
    """x + the branch that a function makes of two linear maps, a vector and the input."""

    def __init__(self, branch):
        super().__init__()
        self.branch, self.p = branch, nn.Parameter(torch.zeros(64))
        self.gate, self.f = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x):
        return x + self.branch(self, x)


def squeezed(m, x):
    h = m.f(torch.tanh(x))
    return h * torch.sigmoid(m.gate(h.mean(0, keepdim=True)))


GATES = {
    "sigmoid of a map": lambda m, x: torch.sigmoid(m.gate(x)) * m.f(torch.tanh(x)),
    "gated unit without a last map": lambda m, x: silu(m.gate(x)) * m.f(x),
    "squeeze and excitation": squeezed,
    "sigmoid of a parameter": lambda m, x: torch.sigmoid(m.p) * m.f(torch.tanh(x)),
    "one plus a parameter": lambda m, x: (1 + m.p) * m.f(torch.tanh(x)),
    "divided by a parameter": lambda m, x: m.f(torch.tanh(x)) / (m.p + 2),
}


@pytest.mark.parametrize("gate", GATES)
def test_a_computed_gate_is_left_alone_and_what_it_multiplies_is_scaled(gate):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = stack(lambda: Gated(GATES[gate]), 3)
    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    assert inn.residual_blocks(model, x)[-1].last == (("2.f.weight",),)
    made = plan(model, x, generator=torch.Generator().manual_seed(1))
    assert sorted(made.changes) == [f"{i}.f.weight" for i in range(3)]
    # the branch is linear in it, so that one correction is exact
    assert made.passes <= 3


class Scaled(nn.Module):
    """A learned number on the whole sum, or on its branch alone."""

    def __init__(self, whole):
        super().__init__()
        self.f, self.a, self.whole = nn.Linear(6, 6), nn.Parameter(torch.tensor(0.9)), whole

    def forward(self, x):
        branch = torch.tanh(self.f.weight @ x.T).T @ self.f.weight
        return self.a * (x + branch) if self.whole else x + self.a * branch


@pytest.mark.parametrize(("whole", "own"), [(True, False), (False, True)])
def test_a_gain_that_scales_the_skip_as_well_is_not_the_branch_s(whole, own):
    (block,) = inn.residual_blocks(Scaled(whole), torch.ones(2, 6))
    assert ("a" in block.last[0]) == own
    assert "f.weight" in block.last[0]
