"""A small decoder, initialised right, for the rules of lint: one fault at a time is put into it."""

import math

import torch
from torch import nn
from torch.nn import functional

from isometry import nn as inn

WIDTH, HEADS, TOKENS, LAYERS, INNER = 64, 4, 12, 6, 176
STD = 0.02 * math.sqrt(768 / WIDTH)
DEPTH = 1 / math.sqrt(2 * LAYERS)


class RMS(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.weight


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.o = nn.Linear(WIDTH, WIDTH, bias=False)
        self.register_buffer("frequencies", 100.0 ** -torch.arange(0, 1, 2 * HEADS / WIDTH))

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        angles = torch.outer(torch.arange(x.shape[1], dtype=x.dtype), self.frequencies)
        q, k = (self.turned(t, angles) for t in (q, k))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).reshape(x.shape))

    @staticmethod
    def turned(t, angles):
        first, second = t.chunk(2, -1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attention, self.norm2 = RMS(), Attention(), RMS()
        self.gate = nn.Linear(WIDTH, INNER, bias=False)
        self.up = nn.Linear(WIDTH, INNER, bias=False)
        self.down = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        z = self.norm2(x)
        return x + self.down(functional.silu(self.gate(z)) * self.up(z))


class Decoder(nn.Module):
    def __init__(self, layers=LAYERS):
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.norm = RMS()
        self.head = nn.Linear(WIDTH, 10, bias=False)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Bank(nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.router = nn.Linear(16, 4, bias=False)
        self.up = nn.Parameter(torch.randn(4, 16, 24, generator=generator) / 4)
        self.down = nn.Parameter(torch.randn(4, 24, 16, generator=generator) / 5)

    def forward(self, x):
        best, which = torch.topk(torch.softmax(self.router(x), -1), 2)
        mask = torch.zeros_like(self.router(x)).scatter(-1, which, best)
        inner = torch.relu(torch.einsum("td,edf->etf", x, self.up))
        return x + torch.einsum("etf,efd,te->td", inner, self.down, mask)


class Expert(nn.Module):
    """Stored as (in, out), so that its shape alone does not tell what it is."""

    def __init__(self, generator):
        super().__init__()
        self.up = nn.Parameter(torch.randn(16, 24, generator=generator) / 4)
        self.down = nn.Parameter(torch.randn(24, 16, generator=generator) / 5)

    def forward(self, x):
        return torch.relu(x @ self.up) @ self.down


class Listed(nn.Module):
    """A mixture that runs only the experts which a token is sent to."""

    def __init__(self, generator, experts=6):
        super().__init__()
        self.router = nn.Linear(16, experts, bias=False)
        redraw(self.router.weight, 0.25, int(torch.randint(99, (1,), generator=generator)))
        self.experts = nn.ModuleList(Expert(generator) for _ in range(experts))

    def forward(self, x):
        best, which = torch.topk(torch.softmax(self.router(x), -1), 2)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            token, place = (which == number).nonzero(as_tuple=True)
            if len(token):
                out = out.index_add(0, token, expert(x[token]) * best[token, place][:, None])
        return x + out


def mixtures(block, edit=None, tokens=8):
    """Lint three mixtures after an edit of the model."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(*[block(generator) for _ in range(3)])
    if edit is not None:
        with torch.no_grad():
            edit(model)
    return inn.lint(model, torch.randn(tokens, 16, generator=generator))


def redraw(parameter, std, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        parameter.copy_(std * torch.randn(parameter.shape, generator=generator))


def decoder(seed=0, layers=LAYERS):
    model = Decoder(layers)
    for place, (name, p) in enumerate(model.named_parameters()):
        if p.ndim == 2:
            writes = name.endswith(("o.weight", "down.weight"))
            depth = (2 * layers) ** -0.5 if writes else 1
            redraw(p, STD * depth, 1000 * seed + place)
    return model


def redraw_all(layer, std, seed):
    """Draw every map of a layer; std is a function of the module and its place."""
    attention = layer.attention
    for place, m in enumerate((attention.qkv, attention.o, layer.gate, layer.up, layer.down)):
        redraw(m.weight, std(m, place), 100 + 10 * seed + place)


def redraw_writers(layer, std, seed):
    """Draw the maps of a layer that write the stream."""
    redraw(layer.down.weight, std, 200 + seed)
    redraw(layer.attention.o.weight, std, 300 + seed)


def edited(edit, layers=LAYERS):
    """Return the decoder after an edit of every layer, called as edit(number, layer)."""
    model = decoder(layers=layers)
    with torch.no_grad():
        for number, layer in enumerate(model.layers):
            edit(number, layer)
    return model


def tokens(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, TOKENS, WIDTH, generator=generator)


def linted(model, **options):
    return inn.lint(model, tokens(), **options)


def named(report, rule, *severities):
    """Return the parameters that a rule names, of errors and warnings unless said."""
    wanted = severities or ("error", "warning")
    return [f.parameter for f in report.findings if f.rule == rule and f.severity in wanted]
