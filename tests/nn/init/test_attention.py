import pytest
import torch
from torch import nn

from isometry.nn.init.baselines import deepnet
from isometry.nn.init.init import apply_

WIDTH, DEPTH = 64, 2
UNIT, BETA = WIDTH**-0.5, (4 * 2 * DEPTH) ** -0.25  # two branches in every layer


def attend(q, k, v, heads=4):
    q, k, v = (t.unflatten(-1, (-1, WIDTH // heads)).transpose(1, 2) for t in (q, k, v))
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
    out = nn.functional.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).flatten(2)


class Layer(nn.Module):
    """x + attention, then x + perceptron; how queries, keys and values are made varies."""

    def __init__(self):
        super().__init__()
        self.out, self.up = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.down = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        x = x + self.out(attend(*self.qkv(x)))
        return x + self.down(torch.relu(self.up(x)))


class Apart(Layer):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def qkv(self, x):
        return self.a(x), self.b(x), self.c(x)

    def parts(self):
        return self.a.weight, self.b.weight, self.c.weight


class Fused(Layer):
    def __init__(self):
        super().__init__()
        self.all = nn.Linear(WIDTH, 3 * WIDTH)

    def qkv(self, x):
        return self.all(x).chunk(3, -1)

    def parts(self):
        return self.all.weight.chunk(3)


class Interleaved(Fused):
    """The rows of every head together, as some decoders store them."""

    def qkv(self, x):
        return (t.flatten(-2) for t in self.all(x).unflatten(-1, (4, 3, -1)).unbind(-2))

    def parts(self):
        return (t.flatten(0, 1) for t in self.all.weight.unflatten(0, (4, 3, -1)).unbind(1))


class StoredInOut(Fused):
    def __init__(self):
        super().__init__()
        self.all = None
        self.w = nn.Parameter(torch.randn(WIDTH, 3 * WIDTH))

    def qkv(self, x):
        return (x @ self.w).chunk(3, -1)

    def parts(self):
        return self.w.chunk(3, 1)


class FewKeys(Layer):
    """One key and one value head for every two heads of queries."""

    def __init__(self):
        super().__init__()
        self.all = nn.Linear(WIDTH, 2 * WIDTH)

    def qkv(self, x):
        return self.all(x).split((WIDTH, WIDTH // 2, WIDTH // 2), -1)

    def parts(self):
        return self.all.weight.split((WIDTH, WIDTH // 2, WIDTH // 2))


@pytest.mark.parametrize("layer", [Apart, Fused, Interleaved, StoredInOut, FewKeys])
def test_deepnet_scales_values_and_leaves_queries_and_keys(layer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(*[layer() for _ in range(DEPTH)])
    x = torch.randn(4, 6, WIDTH, generator=torch.Generator().manual_seed(3))
    apply_(model, deepnet(model, x, generator=torch.Generator().manual_seed(1)))
    for block in model:
        for part, gain in zip(block.parts(), (1.0, 1.0, BETA), strict=True):
            # five standard errors of the deviation of 2048 numbers at least
            xavier = (2 / (WIDTH + part.numel() // WIDTH)) ** 0.5
            assert float(part.detach().std()) == pytest.approx(gain * xavier, rel=0.08)
        for name in ("out", "up", "down"):
            std = float(getattr(block, name).weight.detach().std())
            assert std == pytest.approx(BETA * UNIT, rel=0.06)
