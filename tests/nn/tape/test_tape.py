import pytest
import torch
from torch import nn

from isometry.nn.tape import Layout, follow, settled, vertex_of

STEPS = ("first", "second", "third")


class Chain(nn.Module):
    """Three residual steps whose tensors in between are kept, and an end."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList([nn.Linear(5, 5) for _ in STEPS])
        self.seen = {}

    def forward(self, x):
        for name, linear in zip(STEPS, self.maps, strict=True):
            self.seen[name] = x
            x = x + torch.tanh(linear(x))
        self.seen["end"] = x
        return 2 * x[:, :3]


@pytest.fixture
def chain():
    torch.manual_seed(0)
    return Chain().double()


def between(chain, x, first, last):
    forward = follow(chain, x)
    ends = [vertex_of(chain.seen[name]) for name in (first, last)]
    recorded = settled(forward, ends)
    layout = Layout.of(x)
    nodes = [recorded.node(vertex) for vertex in ends]
    return recorded.tape(*nodes, layout, layout)


@pytest.mark.parametrize(
    ("first", "last"), [("first", "end"), ("second", "third"), ("third", "end")]
)
def test_programs_between_two_values_are_the_jacobian_of_that_stretch(chain, first, last):
    x = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tape = between(chain, x, first, last)
    point = chain.seen[first].detach()
    maps = dict(zip(STEPS, chain.maps, strict=True))
    steps = [name for name in (*STEPS, "end") if name in chain.seen]
    inside = steps[steps.index(first) : steps.index(last)]

    def stretch(h):
        for name in inside:
            h = h + torch.tanh(maps[name](h))
        return h

    v = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    _, expected = torch.autograd.functional.jvp(stretch, point, v)
    _, pulled = torch.autograd.functional.vjp(stretch, point, v)
    assert torch.allclose(tape.jvp(v[None])[0], expected, rtol=1e-12, atol=1e-12)
    assert torch.allclose(tape.vjp(v[None])[0], pulled, rtol=1e-12, atol=1e-12)


def test_a_stretch_minds_only_the_parameters_inside_it(chain):
    x = torch.ones(2, 5, dtype=torch.float64)
    tape = between(chain, x, "second", "third")
    with torch.no_grad():
        chain.maps[2].weight.mul_(2)
    tape.jvp(x[None])
    with torch.no_grad():
        chain.maps[1].weight.mul_(2)
    with pytest.raises(RuntimeError, match="written to after"):
        tape.jvp(x[None])


def test_a_value_that_was_not_kept_has_no_node(chain):
    x = torch.ones(2, 5, dtype=torch.float64)
    forward = follow(chain, x)
    recorded = settled(forward, [vertex_of(chain.seen["second"])])
    assert recorded.node(vertex_of(chain.seen["second"])) is not None
    assert recorded.node(vertex_of(chain.seen["third"])) is None
