import copy

import pytest
import torch
from torch import nn

import isometry as iso
from cases_lint import STD, decoder, edited, linted, named, redraw_writers
from isometry import nn as inn
from isometry.nn.linting.growth import alignment
from isometry.nn.roles.follow import followed


def test_a_stream_that_grows_is_noted_and_a_level_one_is_not():
    report = linted(edited(lambda i, layer: redraw_writers(layer, 8 * STD, i)))
    assert named(report, "growth", "note") == [None]
    assert next(f.number for f in report.findings if f.rule == "growth") > 3
    assert named(linted(decoder()), "growth", "note") == []


class Scaled(nn.Module):
    """x + s W x, where W is given: what the stream does is known in closed form."""

    def __init__(self, weight, scale):
        super().__init__()
        self.map, self.scale = nn.Linear(*weight.T.shape, bias=False), scale
        self.map.weight = nn.Parameter(weight)

    def forward(self, x):
        return x + self.scale * self.map(x)


def test_the_alignment_is_that_of_a_stream_in_closed_form():
    along = nn.Sequential(*[Scaled(torch.eye(8), 1.0) for _ in range(5)])
    found = alignment(followed(along, torch.randn(1, 8)).graph)
    assert found == pytest.approx(2**2, rel=1e-5)  # 2 x has twice the mean square of x and x
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    across = nn.Sequential(*[Scaled(turn, 1.0) for _ in range(5)])
    assert alignment(followed(across, torch.randn(1, 2)).graph) == pytest.approx(1, rel=1e-5)


class InPlace(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        y = self.inner.map(x)
        y += x
        return y


def test_an_addition_in_place_counts_what_was_there_before_it():
    source = torch.Generator().manual_seed(0)
    blocks = [Scaled(torch.randn(16, 16, generator=source), 1.0) for _ in range(4)]
    x = torch.randn(1, 16, generator=source)
    plain = alignment(followed(nn.Sequential(*blocks), x).graph)
    inside = alignment(followed(nn.Sequential(*map(InPlace, blocks)), x).graph)
    assert inside == pytest.approx(plain, rel=1e-5)


def growths(net, width):
    x = torch.randn(1, width, generator=torch.Generator().manual_seed(1))
    return [f for f in inn.lint(net, x).findings if f.rule == "growth"]


def test_the_mean_of_an_activation_is_told_and_an_odd_one_has_none():
    def net(activation):
        spec = iso.ResNetSpec(activation, depth=24)
        return inn.ResNet(spec, 64, generator=torch.Generator().manual_seed(0))

    told = [f for f in growths(net("relu"), 64) if "independent of the stream" in f.message]
    assert len(told) == 1
    assert told[0].number > 1.5
    assert growths(net("tanh"), 64) == []


def test_layers_that_are_copies_add_up_along_one_direction():
    source = torch.Generator().manual_seed(0)
    block = Scaled(torch.randn(32, 32, generator=source) / 32**0.5, 0.5)
    same = nn.Sequential(*[copy.deepcopy(block) for _ in range(8)])
    fresh = [Scaled(torch.randn(32, 32, generator=source) / 32**0.5, 0.5) for _ in range(8)]
    assert any("independent of the stream" in f.message for f in growths(same, 32))
    assert growths(nn.Sequential(*fresh), 32) == []
