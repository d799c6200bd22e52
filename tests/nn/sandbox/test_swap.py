import pytest
import torch
from torch import nn

from cases_modules import shared
from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.sandbox.swap import swapped


def tied():
    one, two = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
    two.weight = one.weight
    return nn.Sequential(one, two)


@pytest.mark.parametrize("build", [shared, tied])
def test_tied_parameters_are_swapped_everywhere_and_put_back(build):
    model = build()
    before = list(model.named_parameters(remove_duplicate=False))
    new = {p: torch.zeros_like(p) for p in model.parameters()}
    with swapped(model, new):
        assert all(slot.count_nonzero() == 0 for slot in model.state_dict().values())
    after = list(model.named_parameters(remove_duplicate=False))
    assert all(n == m and p is q for (n, p), (m, q) in zip(before, after, strict=True))


def test_parameters_are_put_back_after_a_failure():
    model = nn.Linear(3, 3)
    weight = model.weight
    with pytest.raises(RuntimeError, match="shape"), swapped(model, {weight: torch.ones(2, 2)}):
        model(torch.ones(1, 3))
    assert model.weight is weight


def test_a_block_that_is_used_three_times_keeps_its_parameters():
    model = shared()
    before = list(model.parameters())
    residual_blocks(model, torch.randn(4, 8))
    assert all(p is q for p, q in zip(before, model.parameters(), strict=True))
