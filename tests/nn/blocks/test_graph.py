import pytest
import torch
from torch import nn

from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.graph import build_graph, factor
from isometry.nn.blocks.traces import block_traces, measured_law

WAYS = {
    "a learned scalar": lambda x, x0, weight: x + nn.Parameter(torch.tensor(weight)) * x0,
    "a learned vector": lambda x, x0, weight: x + nn.Parameter(torch.full((6,), weight)) * x0,
    "a number": lambda x, x0, weight: x + weight * x0,
    "a number of an addition": lambda x, x0, weight: torch.add(x, x0, alpha=weight),
    "an interpolation": lambda x, x0, weight: torch.lerp(x, x0, weight),
}


class Skipped(nn.Module):
    """Blocks whose every input is mixed with the network's own input."""

    def __init__(self, way, weight, depth=4):
        super().__init__()
        self.maps = nn.ModuleList([nn.Linear(6, 6) for _ in range(depth)])
        self.way, self.weight = way, weight

    def forward(self, x):
        x0 = x
        for linear in self.maps:
            x = self.way(x, x0, self.weight)
            x = x + torch.tanh(linear(x))
        return x


def c_of(way, weight):
    torch.manual_seed(0)
    model = Skipped(way, weight).double()
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(2, 6)
    return measured_law(block_traces(residual_blocks(model, x))).c


@pytest.mark.parametrize("way", WAYS)
def test_a_path_multiplied_by_0_is_none(way):
    assert c_of(WAYS[way], 0.0) == pytest.approx(c_of(lambda x, *_: x, 0.0), rel=1e-10)


class ReZero(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.gain = nn.Linear(6, 6), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x + self.gain * torch.tanh(self.linear(x))


def test_a_branch_multiplied_by_0_stays_a_branch():
    blocks = residual_blocks(nn.Sequential(ReZero(), ReZero()), torch.ones(1, 6))
    assert [block.name for block in blocks] == ["0", "1"]
    assert "0.linear.weight" in blocks[0].parameters


def test_a_jacobian_of_0_is_no_reason_to_find_nothing():
    blocks = residual_blocks(lambda x: 0.0 * (x + torch.tanh(x)), torch.ones(1, 6))
    assert len(blocks) == 1


class Convex(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.gate = nn.Linear(6, 6), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.gate * torch.tanh(self.linear(x)) + (1 - self.gate) * x


def test_a_closed_convex_gate_is_a_block_with_its_branch():
    blocks = residual_blocks(nn.Sequential(Convex(), Convex()), torch.ones(1, 6))
    assert [block.name for block in blocks] == ["0", "1"]
    assert "0.linear.weight" in blocks[0].parameters


@pytest.mark.parametrize("entries", [1, 6])
@pytest.mark.parametrize("operation", [torch.mul, torch.add, torch.lerp])
def test_saved_weights_that_were_freed_are_not_read(operation, entries):
    x, gain = (
        torch.ones(6, requires_grad=True).clone(),
        torch.full((entries,), 2.0, requires_grad=True),
    )
    y = operation(x, gain, weight=gain) if operation is torch.lerp else operation(x, gain)
    gain.untyped_storage().resize_(0)  # what FSDP does to the weights that it gathered
    graph = build_graph((x.grad_fn, 0), (y.grad_fn, 0))
    assert graph.vanishing == frozenset()
    assert factor(graph, graph.order[-1], 0, graph.order[0]) in (1.0, None)
