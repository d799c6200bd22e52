import math

import numpy as np
import pytest
import torch
from torch import nn

from cases_modules import Residual, mlp, stack
from isometry.errors import ConvergenceError
from isometry.nn.blocks.traces import BlockTraces
from isometry.nn.init.fit import factor_for
from isometry.nn.init.init import plan


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def traces(t, v, k, skip=1.0):
    return BlockTraces("b", 0, 16, skip, np.array([[t], [v + t**2], [k + t**2]]), exact=True)


@pytest.mark.parametrize("skip", [1.0, 0.5, -1.0])
@pytest.mark.parametrize("t", [-0.3, 0.0, 0.3])
def test_the_factor_solves_the_equation_of_a_drifting_branch(skip, t):
    v, k, target = 0.7, 0.1, 0.2
    g = factor_for([traces(t, v, k, skip)], [target])
    assert g > 0
    assert g**2 * (v + k) / (skip + g * t) ** 2 == pytest.approx(target, rel=1e-12)


def test_blocks_that_share_a_factor_have_their_targets_together():
    both = [traces(0.0, 0.3, 0.1), traces(0.0, 0.5, 0.1)]
    assert factor_for(both, [0.1, 0.15]) == pytest.approx(math.sqrt(0.25))


def test_a_branch_without_c_and_one_that_drifts_away_are_refused():
    with pytest.raises(ValueError, match="gives 0 at any scale"):
        factor_for([traces(0.0, 0.5, -0.5)], [0.1])
    # c tends to (v + k) / t^2 = 0.5 as the factor grows
    with pytest.raises(ValueError, match=r"reaches less than 0\.5 at any scale"):
        factor_for([traces(1.0, 0.3, 0.2)], [0.6])
    assert factor_for([traces(1.0, 0.3, 0.2)], [0.45]) > 10


def built(make, depth=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return stack(make, depth)


def test_a_model_that_has_its_c_is_left_in_one_pass():
    model, x = built(lambda: Residual(mlp(64, 64))), torch.randn(16, 64, generator=seeded())
    now = plan(model, x, c=1.0, generator=seeded()).c_before
    made = plan(model, x, c=now, rtol=0.5, generator=seeded())
    assert (made.passes, made.changes) == (1, {})


def test_a_c_that_is_not_reached_in_the_last_pass_is_an_error_that_names_the_block(monkeypatch):
    monkeypatch.setattr("isometry.nn.init.fit._PASSES", 2)
    x = torch.randn(64, 8, generator=seeded())
    with pytest.raises(ConvergenceError, match="not reached in 2 passes: block '"):
        plan(built(lambda: Residual(mlp(8, 16))), x, c=0.3, rtol=1e-6, generator=seeded())


class Offset(nn.Module):
    """A branch whose bias outweighs its linear map."""

    def __init__(self, width=64):
        super().__init__()
        self.last = nn.Linear(width, width)
        nn.init.constant_(self.last.bias, 3.0)

    def forward(self, x):
        return x + torch.sin(x) @ self.last.weight.T + self.last.bias


def test_a_branch_that_a_bias_outweighs_takes_the_formula_and_no_search(monkeypatch):
    def search(*_):
        raise AssertionError

    monkeypatch.setattr("isometry.nn.init.fit.solve", search)
    model = built(Offset)
    with torch.no_grad():
        for layer in model:
            layer.last.weight.mul_(0.01)
    made = plan(model, torch.randn(16, 64, generator=seeded()), c=1.0, generator=seeded())
    assert made.residual <= 0.02
    assert all(row.factor > 10 for row in made.blocks)


def test_progress_counts_the_blocks_of_every_pass():
    model, told = built(lambda: Residual(mlp(64, 64))), []
    x = torch.randn(16, 64, generator=seeded())
    made = plan(model, x, generator=seeded(), progress=lambda *at: told.append(at))
    assert [done for done, _ in told] == list(range(1, 3 * made.passes + 1))
    assert {total for _, total in told} == {9}  # three blocks, three passes
