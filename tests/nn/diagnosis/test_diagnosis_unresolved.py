import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.networks.resnet import ResNet
from isometry.theory.propagation import ResNetSpec


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def net(activation="tanh", width=150, depth=20, sigma_w=1.0, seed=0):
    spec = ResNetSpec(activation=activation, depth=depth, sigma_w=sigma_w)
    return ResNet(spec, width, generator=seeded(seed))


def point(*shape):
    return torch.randn(shape, generator=seeded(1))


class Strided(nn.Module):
    """A post-activation residual network in stages, as they are used for images."""

    def __init__(self, channels, stages):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels))
        widths = [channels * 2**i for i in range(stages)]
        first = [(a, b, 2) for a, b in itertools.pairwise(widths)]
        shapes = [(channels, channels, 1)] * 2
        for a, b, stride in first:
            shapes += [(a, b, stride), (b, b, 1)]
        self.blocks = nn.Sequential(*[PostActivation(*shape) for shape in shapes])
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))

    def forward(self, x):
        return self.head(self.blocks(torch.relu(self.stem(x))))


class PostActivation(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.shortcut, self.body = nn.Identity(), self.branch(before, after, stride)
        if stride > 1:
            one = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(one, nn.BatchNorm2d(after))

    @staticmethod
    def branch(before, after, stride):
        convs = nn.Conv2d(before, after, 3, stride, 1), nn.Conv2d(after, after, 3, padding=1)
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, mode="fan_out")
        norms = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        return nn.Sequential(convs[0], norms[0], nn.ReLU(), convs[1], norms[1])

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def strided(method, channels=16, stages=3, side=16):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Strided(channels, stages)
    options = {"batch_norm": "batch", "method": method, "generator": seeded()}
    return diagnose(model, point(1, 3, side, side), **options)


def check_the_unresolved_half(dense, lanczos):
    truth = dense.spectrum
    zeros = float(truth.weights[truth.values == 0].sum())
    assert zeros > 0.4
    assert dense.isometric is False
    low, high = lanczos.spectrum.unresolved
    known = float(lanczos.spectrum.weights[lanczos.spectrum.values == 0].sum())
    assert known == pytest.approx(low, abs=1e-9)  # what is called 0 is resolved as such
    assert known <= zeros + 1e-9
    assert high == low or high > zeros
    for p in (0.01, 0.5, 0.9, 0.99):
        if lanczos.spectrum.resolves(p):
            around = np.sqrt(truth.icdf([max(p - 0.03, 0.0), min(p + 0.03, 1.0)]))
            assert around[0] <= np.sqrt(lanczos.spectrum.icdf(p)) <= around[1]
    said = " ".join([*lanczos.findings, *lanczos.warnings, str(lanczos)])
    if high > low:
        assert lanczos.isometric is not True
        assert "unresolved" in said
        assert "below the bulk" not in said
        assert lanczos.spectrum.resolves(0.5) or "median 1" not in said


def test_what_lanczos_does_not_resolve_of_a_strided_network_is_not_stated():
    check_the_unresolved_half(strided("dense"), strided("lanczos"))


@pytest.mark.slow
def test_the_half_of_the_singular_values_that_are_zero_is_found_or_said_to_be_unresolved():
    dense = strided(None, stages=4, side=32)
    assert dense.spectrum.provenance.startswith("dense")
    zeros = np.count_nonzero(dense.spectrum.values == 0)
    assert 900 < zeros < 1100  # about half of 2,048 units are off before the last block
    check_the_unresolved_half(dense, strided("lanczos", stages=4, side=32))


class OneDirection(nn.Module):
    """Leave 5 % of one direction: a single singular value far below the rest."""

    def __init__(self, width):
        super().__init__()
        u = torch.randn(width, generator=seeded(3))
        self.u = nn.Parameter(u / u.norm())

    def forward(self, x):
        return x - 0.95 * (x @ self.u)[..., None] * self.u


@pytest.mark.parametrize("seed", [0, 1])
def test_one_low_outlier_is_one_by_either_route(seed):
    model = nn.Sequential(net(width=300, depth=12, sigma_w=0.4, seed=seed), OneDirection(300))
    found = {}
    for method in ("dense", "lanczos"):
        d = diagnose(model, point(1, 300), method=method, generator=seeded(seed))
        found[method] = [o.singular_value for o in d.outliers]
    assert len(found["dense"]) == 1
    np.testing.assert_allclose(found["lanczos"], found["dense"], rtol=1e-2)


def test_the_split_of_outliers_is_the_same_under_other_probes():
    model = net("relu", width=300, depth=30, sigma_w=1.4)
    split = set()
    for seed in range(3):
        d = diagnose(model, point(1, 300), method="lanczos", generator=seeded(seed))
        high = d.comparison.measured_edges[1]
        split.add((len(d.outliers), round(math.log(high), 1)))
    assert len(split) == 1


@pytest.mark.slow
def test_a_stream_of_1_2_million_entries_is_diagnosed_with_the_defaults():
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            first, last = (torch.nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(2))
            self.body = torch.nn.Sequential(first, torch.nn.GELU(), last)

        def forward(self, x):
            return x + 0.3 * self.body(x)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = torch.nn.Sequential(Block(), Block(), Block()), torch.randn(1, 3, 640, 640)
    found = diagnose(model, x, generator=torch.Generator().manual_seed(0))
    assert found.spectrum.dimension == 1_228_800
    assert "lanczos" in found.spectrum.provenance
    # E lam = scale, and the traces find the scale by themselves: v and t over the blocks
    mean = float(found.spectrum.values @ found.spectrum.weights)
    assert mean == pytest.approx(float(found.law.mean()), rel=0.02)
