import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cases_modules import Residual, mlp, stack
from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.scale.probes import signs
from isometry.nn.scale.products import block_sums
from isometry.nn.scale.result import BlockScale

WIDTH, PROBES = 12, 5


class Layer(nn.Module):
    """Two residual additions in one module, as in a transformer."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.mlp = nn.Linear(width, width), mlp(width, 2 * width)

    def forward(self, s):
        s = 0.9 * s + self.mix(self.norm1(s)).tanh().cumsum(1)
        return s + self.mlp(self.norm2(s)), None


class Routed(nn.Module):
    """A mixture of experts: each token takes the one that a router prefers."""

    def __init__(self, width=WIDTH, experts=3):
        super().__init__()
        self.router = nn.Linear(width, experts)
        self.experts = nn.ModuleList(mlp(width, width) for _ in range(experts))

    def forward(self, s):
        weight, chosen = self.router(s).softmax(-1).max(-1, keepdim=True)
        parts = torch.stack([expert(s) for expert in self.experts], -1)
        return s + weight * parts.gather(-1, chosen[..., None].expand(*s.shape, 1))[..., 0]


class Checkpointed(nn.Module):
    def __init__(self, inner, reentrant):
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, s):
        return checkpoint(self.inner, s, use_reentrant=self.reentrant)


def point(dtype=torch.float64):
    return torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(1)).to(dtype)


def built(make, dtype=torch.float64):
    torch.manual_seed(0)
    return make().to(dtype)


def dense(layer, s):
    """The matrix X of every block of a layer, in float64."""
    blocks = residual_blocks(lambda x: _first(layer(x)), s)
    return [(block.skip, SegmentOperator(block.segment, -block.inside)) for block in blocks]


def _first(y):
    return y[0] if isinstance(y, tuple) else y


def expected(X, key, shape):
    found = []
    for probe in range(PROBES):
        z = signs((*key, probe), shape, dtype=X.dtype).flatten()
        once = X.T @ z
        found.append([z @ once, once @ once, z @ (X.T @ once)])
    return torch.tensor(found).T


LAYERS = {
    "one addition": lambda: Residual(mlp(WIDTH, 20), skip=0.5, gain=2.0),
    "two additions": Layer,
    "routed": Routed,
}


# The products of one pass against matrices: rounding of float64, and of float32.
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_sums_are_those_of_the_matrices(kind, dtype, rtol):
    layer, s = built(LAYERS[kind], dtype), point(dtype)
    found = block_sums(layer, s, seed=4, index=3, num_probes=PROBES)
    for place, ((skip, X), sums) in enumerate(zip(dense(layer, s), found, strict=True)):
        exact = expected(X.to_dense().double(), (4, 3, place), s.shape)
        assert sums.skip == pytest.approx(skip)
        torch.testing.assert_close(sums.products, exact, rtol=rtol, atol=rtol * s.numel() / 10)
        # the twin: other probes are seen to be others
        other = expected(X.to_dense().double(), (4, 2, place), s.shape)
        assert not torch.allclose(sums.products, other, rtol=1e-3)


def test_the_stream_is_measured_between_the_additions_of_a_layer():
    layer, s = built(Layer), point()
    first, second = block_sums(layer, s)
    middle = 0.9 * s + layer.mix(layer.norm1(s)).tanh().cumsum(1)
    sizes = [t.detach().square().sum().item() for t in (s, middle, layer(s)[0])]
    assert first.squares.tolist() == pytest.approx(sizes[:2])
    assert second.squares.tolist() == pytest.approx(sizes[1:])


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_layer_is_measured_as_the_plain_one(reentrant):
    layer, s = built(Layer), point()
    plain = block_sums(_FirstOf(layer), s)
    checked = block_sums(Checkpointed(_FirstOf(layer), reentrant), s)
    for one, other in zip(plain, checked, strict=True):
        assert torch.equal(one.products, other.products)


class _FirstOf(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, s):
        return self.inner(s)[0]


# bfloat16 keeps 8 bits: entries of Xᵀz err by 2^-9, independently, so that sums of 72 of them are
# within 2 % and those of the whole layer are no worse although X is small beside the identity.
def test_sixteen_bits_round_the_branch_and_not_the_identity():
    layer, s = built(lambda: Residual(mlp(WIDTH, 20), gain=1e-3)), point()
    (wide,) = block_sums(layer, s)
    (narrow,) = block_sums(layer.bfloat16(), s.bfloat16())
    torch.testing.assert_close(narrow.products[1], wide.products[1], rtol=0.03, atol=0)


def test_a_term_that_is_spread_over_the_stream_is_pulled_back_from_all_of_it():
    s = point()

    def layer(s):
        return s + s.mean(0, keepdim=True).tanh()

    (found,) = block_sums(layer, s, seed=4, index=3, num_probes=PROBES)
    ((_, X),) = dense(layer, s)
    exact = expected(X.to_dense(), (4, 3, 0), s.shape)
    torch.testing.assert_close(found.products, exact)


def test_a_layer_without_an_addition_has_a_gain_only():
    layer = built(lambda: nn.Linear(WIDTH, WIDTH, bias=False))
    (found,) = block_sums(layer, point(), num_probes=200, name="head")
    assert (found.name, found.skip) == ("head", None)
    exact = float(layer.weight.detach().square().sum() / WIDTH) ** 0.5
    # standard error of |Wᵀz|^2 / N over 200 x 72 entries: about 2 %, of its root 1 %
    assert BlockScale.of(found).backward == pytest.approx(exact, rel=0.05)


def test_nothing_of_the_layer_or_the_process_changes():
    layer, s = built(Layer), point()
    layer(s)[0].sum().backward()
    gradients = [p.grad.clone() for p in layer.parameters()]
    before = torch.get_rng_state()
    block_sums(layer, s)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p.grad, g) for p, g in zip(layer.parameters(), gradients, strict=True))
    assert all(not module._forward_hooks for module in layer.modules())
    assert not s.requires_grad


def test_no_second_derivative_is_ever_taken(monkeypatch):
    grad = torch.autograd.grad

    def once(*args, create_graph=False, **kwargs):
        assert not create_graph
        return grad(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", once)
    assert block_sums(built(Layer), point())


def test_names_are_those_of_the_modules():
    found = block_sums(built(Layer), point(), name="layers.3")
    assert [sums.name for sums in found] == ["layers.3.mix", "layers.3.mlp"]


def test_the_blocks_of_a_model_are_those_that_are_found_in_the_whole():
    model, s = built(lambda: stack(lambda: Residual(mlp(WIDTH, 20)), 3)), point()
    whole = [block.name for block in residual_blocks(model, s)]
    names = []
    for index, layer in enumerate(model):
        names += [sums.name for sums in block_sums(layer, s, index=index, name=str(index))]
    assert names == whole
    assert not math.isnan(float(block_sums(model[0], s)[0].squares.sum()))
