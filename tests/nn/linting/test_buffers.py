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


class Decaying(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(8, 8), nn.Linear(8, 8)
        self.decay = nn.Parameter(torch.arange(1.0, 9.0).log())
        self.scale = nn.Parameter(torch.full((8,), 1e-4))

    def forward(self, x):
        h = torch.zeros_like(x[:, 0])
        for step in self.enter(x).unbind(1):
            h = torch.exp(-self.decay.exp()) * h + step
        return x + self.scale * self.leave(h)[:, None]


@pytest.mark.parametrize("name", ["decay", "scale"])
def test_a_computed_parameter_unlike_that_of_the_other_layers_is_named(name):
    torch.manual_seed(0)
    model, x = nn.Sequential(*[Decaying() for _ in range(4)]), torch.randn(2, 5, 8)
    assert inn.lint(model, x).worst() == ()
    nn.init.ones_(getattr(model[2], name))
    for given in (x, None):
        report = inn.lint(model, given)
        assert [(f.parameter, f.rule) for f in report.worst()] == [(f"2.{name}", "value")]
    assert inn.lint(model, x, trained=True).of("warning") == ()


def test_sparse_tensors_are_left_out_and_said():
    class Neighbours(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(8, 8)
            self.register_buffer("near", torch.eye(4).to_sparse())
            self.weight = nn.Parameter(torch.eye(8).to_sparse())

        def forward(self, x):
            return torch.sparse.mm(self.weight, torch.sparse.mm(self.near, self.map(x)).T).T

    report = inn.lint(nn.Sequential(Neighbours(), Neighbours()), torch.ones(4, 8))
    assert report.worst() == ()
    assert report.remark == "the numbers of 4 sparse parameters or buffers"
    assert "0.map.weight" in report.summaries
