import pytest
import torch
from torch import nn

from cases_c import c_chain
from cases_modules import mlp
from isometry.nn.init.init import apply_, plan

WIDTH, DEPTH = 24, 3
CONDITION = torch.linspace(-1, 1, 8, dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(*shape):
    return torch.randn(*shape, generator=seeded(), dtype=torch.float64)


class Gated(nn.Module):
    """x + gate * branch(x), the gate a function of one parameter that starts at 0."""

    def __init__(self, function, shape=()):
        super().__init__()
        self.g = nn.Parameter(torch.zeros(shape))
        self.body, self.function = nn.Sequential(nn.LayerNorm(WIDTH), mlp(WIDTH, WIDTH)), function

    def forward(self, x):
        return x + self.function(self.g) * self.body(x)


class Adaptive(Gated):
    """(1 - t) x + t f(x) with t = tanh(g)."""

    def __init__(self):
        super().__init__(torch.tanh)

    def forward(self, x):
        t = self.function(self.g)
        return (1 - t) * x + t * self.body(x)


class Modulated(nn.Module):
    """Shift, scale and gate from a condition, by a map that starts at 0."""

    def __init__(self, bias=True, layers=1):
        super().__init__()
        self.norm, self.body = nn.LayerNorm(WIDTH, elementwise_affine=False), mlp(WIDTH, WIDTH)
        first = [nn.Linear(8, 8), nn.SiLU()] if layers > 1 else [nn.SiLU()]
        self.modulation = nn.Sequential(*first, nn.Linear(8, 3 * WIDTH, bias=bias))
        for parameter in self.modulation[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x):
        shift, scale, gate = self.modulation(CONDITION).chunk(3, -1)
        return x + gate * self.body(self.norm(x) * (1 + scale) + shift)


class FromTheStream(Modulated):
    """The condition is the stream itself, averaged over the positions."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(WIDTH, 8)

    def forward(self, x):
        condition = self.read(x.mean(0, keepdim=True))
        shift, scale, gate = self.modulation(condition).chunk(3, -1)
        return x + gate * self.body(self.norm(x) * (1 + scale) + shift)


class Twice(nn.Module):
    """Two branches whose gates are parts of one modulation."""

    def __init__(self):
        super().__init__()
        self.first, self.second = mlp(WIDTH, WIDTH), mlp(WIDTH, WIDTH)
        self.modulation = nn.Linear(8, 2 * WIDTH)
        for parameter in self.modulation.parameters():
            nn.init.zeros_(parameter)

    def halves(self):
        gates = self.modulation(CONDITION).chunk(2, -1)
        return [
            lambda x: x + gates[0] * self.first(torch.tanh(x)),
            lambda x: x + gates[1] * self.second(torch.tanh(x)),
        ]

    def forward(self, x):
        first, second = self.halves()
        return second(first(x))


LAYERS = {
    "tanh": (lambda: Gated(torch.tanh), "g"),
    "tanh of a vector": (lambda: Gated(torch.tanh, (WIDTH,)), "g"),
    "sine": (lambda: Gated(torch.sin), "g"),
    "square": (lambda: Gated(torch.square), "g"),
    "convex": (Adaptive, "g"),
    "modulation": (Modulated, "modulation.1.bias"),
    "modulation without bias": (lambda: Modulated(bias=False), "modulation.1.weight"),
    "two layers": (lambda: Modulated(layers=2), "modulation.2.bias"),
    "two layers without bias": (lambda: Modulated(False, 2), "modulation.2.weight"),
    "from the stream": (FromTheStream, "modulation.1.bias"),
    "two gates of one map": (Twice, "modulation.bias"),
}


def built(layer, depth=DEPTH):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(*[layer() for _ in range(depth)]).double()


def chain(model):
    return [f for layer in model for f in (layer.halves() if hasattr(layer, "halves") else [layer])]


@pytest.mark.parametrize("case", LAYERS)
def test_a_closed_gate_is_named(case):
    layer, name = LAYERS[case]
    with pytest.raises(ValueError, match=rf"'0\.{name}' at 0, which closes the gate.*redraw=True"):
        plan(built(layer), points(2, WIDTH), generator=seeded())


@pytest.mark.parametrize("case", LAYERS)
def test_a_closed_gate_is_opened_as_far_as_c_asks_for(case):
    layer, name = LAYERS[case]
    model, x = built(layer), points(2, WIDTH)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    made = plan(model, x, c=0.3, redraw=True, generator=seeded())
    apply_(model, made)
    found = c_chain(chain(model), x)
    assert sum(found) == pytest.approx(0.3, rel=0.02)
    assert found == pytest.approx([0.3 / len(found)] * len(found), rel=0.05)
    written = {key.split(".", 1)[1] for key in made.changes}
    assert written <= {name, "body.1.2.weight"}
    for key, p in model.named_parameters():
        if key not in made.changes:
            assert torch.equal(p, before[key])


def test_only_the_gate_of_a_modulation_is_opened():
    model, x = built(Modulated), points(2, WIDTH)
    apply_(model, plan(model, x, c=0.3, redraw=True, generator=seeded()))
    bias = model[1].modulation[1].bias.detach()
    assert not bias[: 2 * WIDTH].any()
    assert (bias[2 * WIDTH :] == bias[-1]).all()
    assert not model[1].modulation[1].weight.any()


def test_a_gate_that_ends_at_1_leaves_the_rest_to_the_last_map():
    model, x = built(lambda: Gated(torch.tanh)), points(2, WIDTH)
    made = plan(model, x, c=6.0, redraw=True, generator=seeded())
    assert made.blocks[0].tensors == ("0.body.1.2.weight",)
    assert made.blocks[0].why.startswith("gate `0.g` opened at 1; last linear map")
    assert sum(c_chain(apply_(model, made), x)) == pytest.approx(6.0, rel=0.02)


def test_a_branch_that_two_parameters_close_is_refused_by_name():
    class Double(Gated):
        def __init__(self):
            super().__init__(torch.tanh)
            self.h = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return x + self.g.tanh() * self.h.tanh() * self.body(x)

    with pytest.raises(ValueError, match=r"no single parameter opens it .*'0\.h'.*'0\.g'"):
        plan(built(Double), points(2, WIDTH), redraw=True, generator=seeded())
