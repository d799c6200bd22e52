"""Batch normalisation that has seen no data does nothing in eval mode: a plan says so."""

import warnings

import pytest
import torch
from torch import nn

from isometry.errors import TheoryWarning
from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.init.init import apply_, plan

X = torch.linspace(-2.0, 2.0, 32 * 16).sin().reshape(32, 16)


class Block(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(16, 16), norm(16), nn.Tanh(), nn.Linear(16, 16))

    def forward(self, x):
        return x + self.branch(x)


def built(norm):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(*[Block(norm) for _ in range(3)]).eval()


def planned(model, **options):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        made = plan(model, X, c=1.0, generator=torch.Generator().manual_seed(0), **options)
    return made, [str(w.message) for w in seen if issubclass(w.category, TheoryWarning)]


def test_a_plan_with_statistics_that_saw_no_data_warns_and_its_advice_sets_c():
    model = built(nn.BatchNorm1d)
    _, said = planned(model)
    assert len(said) == 1
    assert "never updated" in said[0]
    assert "batch_norm='batch'" in said[0]
    made, said = planned(model, batch_norm="batch")
    assert said == []
    found = diagnose(apply_(model, made), X, batch_norm="batch")
    assert found.c == pytest.approx(1.0, abs=0.05)


def test_no_plan_warns_of_statistics_that_saw_data_or_are_not_there():
    model = built(nn.BatchNorm1d).train()
    model(X)
    before = {name: kept.clone() for name, kept in model.named_buffers()}
    assert planned(model.eval())[1] == []
    assert all(torch.equal(before[name], kept) for name, kept in model.named_buffers())
    assert planned(built(nn.LayerNorm))[1] == []
