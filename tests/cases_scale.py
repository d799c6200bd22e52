"""A small transformer that can be sharded in every way, its batch, and what is compared of it."""

import torch
from torch import nn
from torch.nn import functional

WIDTH, HEADS, DEPTH, WORDS = 16, 4, 4, 20


class Attention(nn.Module):
    """Causal attention whose heads a column-wise plan may take apart."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        size = WIDTH // HEADS
        heads = self.qkv(x).unflatten(-1, (-1, 3, size)).movedim(-2, 0).transpose(2, 3)
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleDict({str(i): Layer() for i in range(DEPTH)})
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x):
        x = self.embedding(x)
        for layer in self.layers.values():
            x = layer(x)
        return self.norm(x)


def whole_model(dtype=torch.float32):
    torch.manual_seed(0)
    return Model().to(dtype).eval()


def batch():
    return torch.randint(0, WORDS, (4, 6), generator=torch.Generator().manual_seed(1))


def numbers(report):
    """What is compared between processes: the totals, and every block's own."""
    return {
        "c": report.c,
        "log_scale": report.log_scale,
        "growth": report.growth,
        "names": [b.name for b in report.blocks],
        "blocks": [
            [b.traces.t, b.traces.v, b.traces.k, b.c, b.log_scale, b.forward, b.backward]
            for b in report.blocks
        ],
        "size": [b.size for b in report.blocks],
    }
