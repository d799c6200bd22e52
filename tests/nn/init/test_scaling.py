import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune

from cases_c import c_chain
from cases_modules import Residual, shared
from isometry.nn.init.init import apply_, plan

WIDTH, DEPTH = 24, 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(*shape):
    return torch.randn(*shape, generator=seeded(), dtype=torch.float64)


def body(last=nn.Linear, *behind):
    first = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU())
    return nn.Sequential(first, last(WIDTH, WIDTH), *behind)


class Learned(nn.Module):
    """A learned scalar that multiplies the skip as well as, or instead of, the branch."""

    def __init__(self, rule, value):
        super().__init__()
        self.gain, self.body, self.rule = nn.Parameter(torch.tensor(value)), body(), rule

    def forward(self, x):
        return self.rule(self.gain, x, self.body(x))


class Computed(nn.Module):
    """A linear map whose weight is computed when it is called."""

    def __init__(self, width, _out, rule=lambda w: w * WIDTH**-0.5, gain=None):
        super().__init__()
        self.weight, self.rule = nn.Parameter(torch.randn(width, width)), rule
        self.gain = None if gain is None else nn.Parameter(torch.tensor(gain))

    def forward(self, x):
        weight = self.rule(self.weight)
        return functional.linear(x, weight if self.gain is None else self.gain * weight)


def standardised(w):
    return (w - w.mean(1, keepdim=True)) / (w.std(1, keepdim=True) * WIDTH**0.5)


class Adapted(nn.Module):
    """A linear map with a low-rank bypass that starts at 0."""

    def __init__(self, width, out, zeros="b"):
        super().__init__()
        self.base, self.a = nn.Linear(width, out), nn.Linear(width, 4, bias=False)
        self.b = nn.Linear(4, out, bias=False)
        nn.init.zeros_(getattr(self, zeros).weight)

    def forward(self, x):
        return self.base(x) + 2 * self.b(self.a(x))


class Powers(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.map, self.function = nn.Linear(WIDTH, WIDTH), function

    def forward(self, x):
        return x + self.function(self.map(x))


class Spectral(nn.Module):
    """A complex weight for every one of the first frequencies, as in a neural operator."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(3, 3, 4, dtype=torch.complex128))

    def forward(self, x):
        h = torch.fft.rfft(x.unflatten(-1, (3, -1)))
        out = torch.zeros_like(h)
        out[..., :4] = torch.einsum("bim,iom->bom", h[..., :4], self.weight)
        return x + torch.fft.irfft(out, n=WIDTH // 3).flatten(1)


def pruned(width, out):
    layer = nn.Linear(width, out)
    return prune.random_unstructured(layer, "weight", amount=0.8)


def kept_double(model):
    return model.double()  # complex weights are double already


LAYERS = {
    "scalar on the sum": (lambda: Learned(lambda a, x, f: a * (x + f), 0.9), "body.1.weight"),
    "scalar on the skip": (lambda: Learned(lambda a, x, f: a * x + f, 0.9), "body.1.weight"),
    "convex": (lambda: Learned(lambda a, x, f: (1 - a) * x + a * f, 0.4), "body.1.weight"),
    "sigmoid of a scalar": (
        lambda: Learned(lambda a, x, f: (1 - a.sigmoid()) * x + a.sigmoid() * f, -1.0),
        "body.1.weight",
    ),
    "scalar on the branch": (lambda: Learned(lambda a, x, f: x + a * f, 0.4), "gain"),
    "equalised learning rate": (lambda: Residual(body(Computed)), "body.1.weight"),
    "standardised, with a gain": (
        lambda: Residual(body(lambda n, m: Computed(n, m, standardised, 0.7))), "body.1.gain",
    ),
    "pruned": (lambda: Residual(body(pruned)), "body.1.weight_orig"),
    "weight norm": (
        lambda: Residual(body(lambda n, m: parametrizations.weight_norm(nn.Linear(n, m)))),
        "body.1.parametrizations.weight.original0",
    ),
    "adapter at 0": (lambda: Residual(body(Adapted)), "body.1.base.weight"),
    "adapter, first map at 0": (
        lambda: Residual(body(lambda n, m: Adapted(n, m, "a"))), "body.1.base.weight",
    ),
    "cube": (lambda: Powers(lambda h: h**3), "map.weight"),
    "squared silu": (lambda: Powers(lambda h: functional.silu(h) ** 2), "map.weight"),
    "complex weight": (Spectral, "weight"),
    "norm with a weight": (lambda: Residual(body(nn.Linear, nn.LayerNorm(WIDTH))), "body.2.weight"),
}  # fmt: skip


def built(layer, depth=DEPTH):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kept_double(nn.Sequential(*[layer() for _ in range(depth)]))


@pytest.mark.parametrize("case", LAYERS)
def test_what_scales_the_branch_is_found_and_c_is_reached(case):
    layer, name = LAYERS[case]
    model, x = built(layer), points(1, WIDTH)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    made = plan(model, x, c=0.4, generator=seeded())
    assert [block.tensors for block in made.blocks] == [(f"{i}.{name}",) for i in range(DEPTH)]
    apply_(model, made)
    # the probes of a block are 2^15 entries here: 2 % with the accepted residual
    assert c_chain(model, x) == pytest.approx([0.4 / DEPTH] * DEPTH, rel=0.04)
    for key, p in model.named_parameters():
        assert torch.equal(p, before[key]) == (key not in made.changes)


def test_an_adapter_at_0_stays_one_when_all_else_is_drawn_anew():
    model, x = built(lambda: Residual(body(Adapted))), points(1, WIDTH)
    made = plan(model, x, c=0.4, redraw=True, generator=seeded())
    assert made.blocks[0].why == "last linear map, scaled; `0.body.1.b.weight` is 0 and stays"
    apply_(model, made)
    assert not any(layer.body[1].b.weight.any() for layer in model)


class OwnNorm(nn.Module):
    def forward(self, x):
        return x / x.square().mean(-1, keepdim=True).sqrt()


class Unit(nn.Module):
    def forward(self, x):
        return functional.normalize(x, dim=-1)


NORMS = {
    "layer norm": lambda: nn.LayerNorm(WIDTH, elementwise_affine=False),
    "rms norm": lambda: nn.RMSNorm(WIDTH, elementwise_affine=False),
    "group norm": lambda: nn.GroupNorm(4, WIDTH, affine=False),
    "in the model's own code": OwnNorm,
    "to unit length": Unit,
}


@pytest.mark.parametrize("case", NORMS)
def test_a_norm_behind_the_branch_is_named_at_once(case):
    def layer(*behind):
        return Residual(body(lambda n, m: nn.Linear(n, m, bias=False), NORMS[case](), *behind))

    with pytest.raises(ValueError, match=r"a norm behind '0\.body\.1\.weight'.*put a gain behind"):
        plan(built(layer), points(2, WIDTH), generator=seeded())

    class Gain(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(WIDTH))

        def forward(self, x):
            return self.gain * x

    model, x = built(lambda: layer(Gain())), points(1, WIDTH)  # as the advice says
    apply_(model, plan(model, x, c=0.3, generator=seeded()))
    assert sum(c_chain(model, x)) == pytest.approx(0.3, rel=0.03)


FIXED = {
    "spectral norm": (
        lambda n, m: parametrizations.spectral_norm(nn.Linear(n, m)),
        r"by `SpectralNorm`.*parametrize\.remove_parametrizations\(model\.0\.body\.1, 'weight'\)",
        lambda layer: parametrize.remove_parametrizations(layer, "weight"),
    ),
    "legacy spectral norm": (
        lambda n, m: nn.utils.spectral_norm(nn.Linear(n, m)),
        r"by `SpectralNorm`.*torch\.nn\.utils\.remove_spectral_norm\(model\.0\.body\.1\)",
        nn.utils.remove_spectral_norm,
    ),
    "orthogonal": (
        lambda n, m: parametrizations.orthogonal(nn.Linear(n, m)),
        r"by `Orthogonal`.*parametrize\.remove_parametrizations\(model\.0\.body\.1, 'weight'\)",
        lambda layer: parametrize.remove_parametrizations(layer, "weight"),
    ),
    "standardised": (
        lambda n, m: Computed(n, m, standardised),
        "by a normalisation in the model's own code.*a gain behind that map",
        lambda layer: setattr(layer, "rule", lambda w: w),
    ),
}


@pytest.mark.parametrize("case", FIXED)
def test_a_reparametrisation_that_fixes_the_size_is_named_and_what_frees_it(case):
    last, match, free = FIXED[case]
    model, x = built(lambda: Residual(body(last))).eval(), points(1, WIDTH)
    with pytest.raises(ValueError, match=match):
        plan(model, x, generator=seeded())
    for layer in model:
        free(layer.body[1])
    apply_(model, plan(model, x, c=0.3, generator=seeded()))
    assert sum(c_chain(model, x)) == pytest.approx(0.3, rel=0.03)


def test_blocks_that_share_a_parameter_are_one_group():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = shared()
    made = plan(model, torch.randn(64, 8, generator=seeded()), c=0.3, generator=seeded())
    assert list(made.changes) == ["0.body.2.weight"]
    assert len({block.factor for block in made.blocks}) == 1
