import math

import pytest
import torch
from torch import nn

from cases_lint import decoder, linted, named
from isometry import nn as inn


@pytest.mark.parametrize("value", [0.0, 1e-41, 3e33, math.nan, math.inf, 0.5])
def test_a_buffer_that_memory_left_is_named(value):
    model = decoder()
    model.layers[3].attention.frequencies.fill_(value)
    assert named(linted(model), "buffer") == ["layers.3.attention.frequencies"]


def test_zeros_that_multiply_are_named_in_every_layer():
    model = decoder()
    for layer in model.layers:
        layer.attention.frequencies.zero_()
    assert len(named(linted(model), "buffer")) == 6


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(8, 8)
        self.register_buffer("mask", torch.full((8, 8), -math.inf).triu(1))
        self.register_buffer("least", torch.tensor(torch.finfo(torch.float32).min))
        self.register_buffer("shift", torch.zeros(8))
        self.register_buffer("state", torch.zeros(8))

    def forward(self, x):
        self.state.copy_(x.mean(0))
        weights = torch.softmax(self.map(x)[:, :8] + self.mask[: len(x)], -1)
        return weights * self.state + self.shift


def test_masks_shifts_and_states_are_right_as_they_are():
    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    model = Masked()
    assert named(inn.lint(model, x), "buffer") == []
    assert not model.state.any()


def test_running_statistics_may_be_zero_and_differ():
    model = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)) for _ in range(4)])
    model.train()(torch.randn(16, 8, generator=torch.Generator().manual_seed(0)))
    assert named(inn.lint(model, torch.ones(2, 8)), "buffer") == []
