import math

import torch
from torch import nn

from isometry.nn.diagnosis.cumulants import cumulants
from isometry.nn.sandbox.specimen import Specimen

X = torch.linspace(-1, 1, 6).reshape(1, 6)


class Mixed(nn.Module):
    """A block, then one whose skip is a matrix."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.skip = (nn.Linear(6, 6, bias=False) for _ in range(3))

    def forward(self, x):
        x = x + torch.tanh(self.a(x))
        return self.skip(x) + torch.tanh(self.b(x))


def found(model):
    torch.manual_seed(0)
    return cumulants(Specimen.of(model, X), torch.Generator().manual_seed(0))


def test_every_block_has_its_c():
    c, reason = found(lambda x: x + torch.tanh(x) / 2)
    assert (len(c), reason) == (1, "")
    assert c[0] > 0


def test_a_block_whose_skip_is_a_matrix_has_none_and_leaves_the_other_its_own():
    torch.manual_seed(0)
    c, reason = found(Mixed())
    assert [math.isnan(each) for each in c] == [False, True]
    assert reason.endswith("is a matrix, so that c is not defined")


def test_a_model_without_blocks_has_none_and_says_why():
    c, reason = found(nn.Sequential(nn.Linear(6, 6), nn.Tanh()))
    assert c == ()
    assert reason.startswith("`model` has no residual block that is recognised")
    assert "; expected" not in reason


def test_what_is_not_finite_has_none():
    net = nn.Linear(6, 6)
    nn.init.constant_(net.weight, math.nan)
    c, reason = found(lambda x: x + net(x))
    assert c == ()
    assert "NaN or infinite weights" in reason
