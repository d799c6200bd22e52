import pytest
import torch
from torch import nn

from cases_models import pixels, tokens
from cases_modules import Residual, mlp, stack
from isometry import nn as inn
from isometry.nn.blocks.blocks import Block
from isometry.nn.init.init import apply_, plan
from isometry.nn.init.subject import Subject, handles
from isometry.nn.resnet import ConvResNet, ResNet
from isometry.theory.propagation import ResNetSpec


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(*shape):
    return torch.randn(*shape, generator=seeded())


class InPlace(nn.Module):
    """The branch is written over, then the stream is added to it in place."""

    def __init__(self, width):
        super().__init__()
        self.first, self.last = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        h = nn.functional.relu_(self.first(x))
        h = self.last(h)
        h += x
        return h


class Buffered(nn.Module):
    """The branch is written into a buffer in two halves."""

    def __init__(self, width):
        super().__init__()
        self.last = nn.Linear(width, width)

    def forward(self, x):
        h = self.last(torch.tanh(x))
        f = torch.zeros_like(h)
        f[:, ::2] = h[:, ::2]
        f[:, 1::2] = h[:, 1::2]
        return x + f


class AddedTo(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.last = nn.Linear(width, width)

    def forward(self, x):
        return x.add_(self.last(torch.tanh(x)))


class Unseen(nn.Module):
    """The branch ends in a custom autograd function, which no mode of torch functions sees."""

    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, h):
            return 2 * h

        @staticmethod
        def backward(_ctx, *grads):
            return 2 * grads[0]

    def __init__(self, width):
        super().__init__()
        self.last = nn.Linear(width, width)

    def forward(self, x):
        return x + self.Scale.apply(self.last(torch.tanh(x)))


class Fickle(nn.Module):
    """What is called depends on the size of the stream, as in a mixture of experts."""

    def __init__(self, width):
        super().__init__()
        self.last = nn.Linear(width, width)

    def forward(self, x):
        h = torch.tanh(x)
        for _ in range(1 + int(x.std() > 1.1)):
            h = h + 0.0
        return x + self.last(h)


WAYS = {
    "plain": lambda: Residual(mlp(16, 32)),
    "written over": lambda: InPlace(16),
    "in two halves": lambda: Buffered(16),
    "added to the stream": lambda: AddedTo(16),
    "weight norm": lambda: Residual(nn.utils.parametrizations.weight_norm(nn.Linear(16, 16))),
    "batch norm": lambda: Residual(nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16))),
}


def built(layer, depth=3, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return stack(layer, depth)


@pytest.mark.parametrize("way", WAYS)
def test_later_blocks_see_what_earlier_ones_become(way):
    model, x = built(WAYS[way]), points(64, 16)
    subject = Subject(model, x, model, None, "batch", 0)
    blocks, chart = subject.charted({})
    levers = [terms[0][0] for terms in handles(blocks, model)]
    sizes = []

    def visit(index, _source, _target, size):
        sizes.append(size)
        p = model.get_parameter(levers[index])
        return {id(p): 3.0 * p.detach()}

    subject.steer({}, chart, visit)
    expected = []
    with torch.no_grad():
        for name in levers:
            model.get_parameter(name).mul_(3.0)
        for block in model:
            block.register_forward_pre_hook(lambda _, args: expected.append(float(args[0].norm())))
        model(x.clone())
    assert sizes == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("way", [Unseen, Fickle])
def test_a_pass_that_cannot_be_steered_still_ends_at_c(way):
    model, x = built(lambda: way(16)), points(64, 16)
    made = plan(model, x, c=1.0, generator=seeded())
    assert made.passes <= 5
    apply_(model, made)
    found = plan(model, x, c=1.0, rtol=0.03, generator=seeded())
    assert found.passes == 1
    assert not found.changes


def perceptron(depth):
    return lambda: stack(lambda: Residual(mlp(256, 512)), depth)


def own(kind, size, depth):
    return lambda: kind(ResNetSpec("tanh", depth=depth, sigma_b=0.2), size, generator=seeded())


def families(depth):
    bert = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
    bert["num_hidden_layers"] = depth
    gpt = {"n_embd": 128, "n_head": 4, "n_layer": depth, "n_positions": 16}
    stages = {"hidden_sizes": [32, 64], "depths": [max(depth // 2, 2)] * 2}
    return {
        "perceptron": (perceptron(2 * depth), (16, 256), {}, 3),
        "own": (own(ResNet, 256, 2 * depth), (16, 256), {"method": "data"}, 5),
        "convolutional": (own(ConvResNet, 32, 2 * depth), (4, 32, 6, 6), {"method": "data"}, 5),
        "gpt2": (tokens("GPT2Model", "GPT2", **gpt), (8, 16, 128), {}, 3),
        "llama": (
            tokens("LlamaModel", "Llama", num_key_value_heads=2, **bert), (8, 16, 128), {}, 3
        ),
        "vit": (
            pixels("ViTModel", "ViT", image_size=32, patch_size=4, **bert), (4, 3, 32, 32), {}, 3
        ),
        "convnext": (
            pixels("ConvNextModel", "ConvNext", num_stages=2, **stages), (2, 3, 64, 64),
            {"redraw": True}, 3,
        ),
        "resnet": (
            pixels("ResNetModel", "ResNet", layer_type="basic", embedding_size=32, **stages),
            (4, 3, 64, 64), {"batch_norm": "batch"}, 4,
        ),
    }  # fmt: skip


FAST = ("perceptron", "own", "convolutional", "gpt2")
CASES = [
    pytest.param(name, depth, c, start, marks=[] if quick else [pytest.mark.slow])
    for name in families(2)
    for depth, c, start in ((2, 1.0, 1.0), (2, 1.0, 10.0), (12, 1.0, 0.1), (12, 4.0, 10.0))
    for quick in (name in FAST and depth == 2,)
]


@pytest.mark.parametrize(("name", "depth", "c", "start"), CASES)
def test_c_is_reached_in_few_passes_of_twelve_pairs(monkeypatch, name, depth, c, start):
    build, shape, options, most = families(depth)[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    x = points(*shape)
    blocks = inn.residual_blocks(model, x, batch_norm=options.get("batch_norm"))
    with torch.no_grad():
        for lever in {terms[0][0] for terms in handles(blocks, model)}:
            model.get_parameter(lever).mul_(start)
    forward, backward = [], []
    model.register_forward_hook(lambda *_: forward.append(1))
    vjp = Block.vjp
    monkeypatch.setattr(Block, "vjp", lambda self, U: backward.append(len(U)) or vjp(self, U))
    made = plan(model, x, c=c, generator=seeded(1), **options)
    assert made.residual <= 0.02
    assert made.passes <= most
    # a pair is a forward and a backward pass of the whole model, which is one of every block
    assert len(forward) <= made.passes + 1
    assert sum(backward) == 12 * made.passes * len(blocks)
