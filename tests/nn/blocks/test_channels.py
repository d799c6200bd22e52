import pytest
import torch
from torch import nn

from cases_models import GPT, LLAMA, T5, tokens
from cases_modules import LayerScale, Mixer, Own, Residual, encoder, mlp, preactivation, stack
from isometry.nn.blocks.blocks import residual_stream
from isometry.nn.blocks.channels import channel_axes
from isometry.nn.networks.hyper_resnet import HyperResNet
from isometry.theory.propagation import ResNetSpec


class ChannelsLast(nn.Module):
    """A ConvNeXt branch: a kernel per channel, then products over the channels, moved last."""

    def __init__(self, width):
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm, self.map = nn.LayerNorm(width), mlp(width, 2 * width)

    def forward(self, x):
        h = self.map(self.norm(self.spatial(x).permute(0, 2, 3, 1)))
        return x + h.permute(0, 3, 1, 2)


class Affine(nn.Module):
    """A ResMLP layer: no norm, tokens and channels mixed in turn, each with gains of channels."""

    def __init__(self, tokens, width, gain=True):
        super().__init__()
        self.tokens, self.channels = nn.Linear(tokens, tokens), nn.Linear(width, width)
        self.gain = nn.Parameter(torch.ones(width)) if gain else 1.0

    def forward(self, x):
        x = x + self.tokens((self.gain * x).mT).tanh().mT
        return x + self.channels(self.gain * x).tanh()


class Attention(nn.Module):
    """Softmax attention without a map: queries, keys and values are the stream itself."""

    def forward(self, x):
        return x + torch.softmax(x @ x.mT, -1) @ x


def streams():
    """Several streams, read by their mean, with no norm: the skip mixes them."""
    return HyperResNet(ResNetSpec("tanh", depth=3), 6, streams=3)


CASES = {
    "streams": (streams, (1, 6), 2),
    "fully connected, several samples": (lambda: stack(lambda: Residual(mlp(6, 9))), (4, 6), 1),
    "one vector": (lambda: stack(lambda: Residual(mlp(6, 9))), (6,), 0),
    "transformer": (lambda: encoder(True).eval(), (2, 16, 16), 2),
    "post-norm": (lambda: encoder(False).eval(), (1, 5, 16), 2),
    "GPT-2": (tokens("GPT2Model", "GPT2", **GPT), (1, 8, 16), 2),
    "Llama": (tokens("LlamaModel", "Llama", **LLAMA), (1, 6, 16), 2),
    "T5": (tokens("T5EncoderModel", "T5", **T5), (1, 6, 16), 2),
    "Mixer": (lambda: stack(lambda: Mixer(5, 6)), (1, 5, 6), 2),
    "Mixer, as many tokens as channels": (lambda: stack(lambda: Mixer(6, 6)), (1, 6, 6), 2),
    "ResMLP": (lambda: stack(lambda: Affine(5, 6)), (1, 5, 6), 2),
    "convolutions": (lambda: stack(lambda: preactivation(4)).eval(), (1, 4, 3, 3), 1),
    "ConvNeXt": (lambda: stack(lambda: ChannelsLast(4)), (1, 4, 3, 3), 1),
    "layer scale": (lambda: stack(lambda: LayerScale(mlp(6, 6), 6)), (2, 6, 6), 2),
}


def axes(build, shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = build().double(), torch.randn(shape, dtype=torch.float64)
    return [axis for (axis,) in channel_axes(residual_stream(model, x).chain)]


@pytest.mark.parametrize("name", CASES)
def test_the_channels_are_what_the_maps_of_the_model_sum_over(name):
    build, shape, expected = CASES[name]
    assert set(axes(build, shape)) == {expected}


@pytest.mark.parametrize(
    "build",
    [lambda: stack(lambda: Affine(5, 6, gain=False)), lambda: stack(Attention)],
    ids=["two axes mixed alike", "no map at all"],
)
def test_nothing_is_said_where_the_maps_do_not_tell(build):
    assert set(axes(build, (1, 5, 6))) == {None}


def test_nothing_is_said_of_a_pass_that_is_not_recorded():
    class Straight(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(6, 6)

        def forward(self, x):
            return x + Own.apply(self.map(x))

    assert set(axes(lambda: stack(Straight), (2, 6))) == {None}
