import pytest
import torch
from torch import nn

from isometry.nn.init.changes import Change, Draw, tried, write
from isometry.nn.roles.uses import WeightMap
from isometry.nn.sandbox.unwrap import plain_parameters


def test_factors_multiply_on_all_entries_or_on_a_part():
    part = torch.tensor([True, False])
    change = Change(torch.tensor([1.0, 10.0])).times(2.0).times_on(3.0, part).times_on(0.5, None)
    assert change.values("w", torch.zeros(2)).tolist() == [3.0, 10.0]


def test_every_matrix_of_a_stack_is_drawn_alone():
    described = WeightMap(6, 4, (0, 2, 1), 1)
    draw = Draw.of(described, "orthogonal", 6**-0.5, 0)
    bank = draw.values("w", torch.zeros(3, 6, 4, dtype=torch.float64))
    for matrix in bank:
        gram = matrix.T @ matrix
        torch.testing.assert_close(gram, torch.eye(4, dtype=torch.float64))
    assert not torch.equal(bank[0], bank[1])


def test_a_complex_weight_has_the_size_that_is_asked_for():
    values = Draw("normal", 0.5, 0).values("w", torch.zeros(64, 64, dtype=torch.complex64))
    assert float(values.abs().square().mean().sqrt()) == pytest.approx(0.5, rel=0.05)


def test_changes_are_tried_without_touching_the_parameters():
    model = nn.Linear(2, 2)
    before = model.weight
    with tried(model, {"weight": Change(2.0)}):
        assert (plain_parameters(model)["weight"] == 2.0).all()
    assert model.weight is before
    write(model, {"weight": Change(2.0)})
    assert model.weight is before
    assert (before == 2.0).all()
