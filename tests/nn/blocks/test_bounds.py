import pytest
import torch
from torch import nn

from cases_modules import mlp
from isometry.nn.blocks.blocks import residual_stream
from isometry.nn.blocks.graph import operation

WIDTH = 4


class Stream(nn.Module):
    """Three blocks whose stream keeps, or meets again, what it started from."""

    def __init__(self, again):
        super().__init__()
        self.layers, self.again = nn.ModuleList(mlp(WIDTH, 8) for _ in range(3)), again

    def forward(self, x):
        start = x
        for layer in self.layers:
            x = x + self.again * start if self.again else x
            x = x + layer(x)
        return torch.tanh(x)


def stream(again):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Stream(again).double(), torch.randn(2, WIDTH, dtype=torch.float64)
    return residual_stream(model, x)


@pytest.mark.parametrize(("again", "members"), [(0.0, [1, 1, 1]), (0.2, [1, 2, 1])])
def test_a_state_is_the_stream_and_what_comes_back_to_it(again, members):
    found = stream(again)
    assert [len(segment.source_shapes) for segment in found.chain] == members
    assert (found.trunk.source_shape, found.trunk.target_shape) == ((2, WIDTH), (2, WIDTH))
    assert found.trunk.source == found.chain[0].source
    assert operation(found.trunk.target) == "Add"  # what is behind the last block is no part of it


def test_only_states_of_several_tensors_are_spoken_of():
    assert "read later" not in stream(0.0).remark
    assert "read later" not in stream(0.2).remark  # its blocks are between tensors
