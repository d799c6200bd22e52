from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from cases_c import c_of, dense
from isometry.nn.init.init import plan
from isometry.nn.init.measured import MeasuredModel
from isometry.nn.init.trial import Trial, Unit, UnreachableError, solve

WIDTH = 16


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Layer(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.map, self.function = nn.Linear(WIDTH, WIDTH, bias=False), function

    def forward(self, x):
        return self.function(x, self.map(x))


FUNCTIONS = {
    "linear": (lambda x, h: x + h, 1.0),
    "half a skip": (lambda x, h: 0.5 * x + h, 1.0),
    "cube": (lambda x, h: x + h**3, 3.0),
    "normalised": (lambda x, h: x + functional.normalize(h, dim=-1), 0.0),
}


def built(function, depth=2):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(*[Layer(function) for _ in range(depth)]).double()
    return model, torch.randn(2, WIDTH, generator=seeded(), dtype=torch.float64)


def trials(model, x):
    """Yield a trial of every block, in one run."""
    measured = MeasuredModel(model, x, model, None, None, 0)
    stream, calls = measured.recorded({})
    with measured.replay(calls, {}) as run:
        for met in run:
            yield Trial(measured, run, stream.blocks[met.index], met)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_power_of_the_answer_is_that_of_the_function(name):
    function, power = FUNCTIONS[name]
    for index, trial in enumerate(trials(*built(function))):
        found, moves_skip = trial.doubled([Unit(f"{index}.map.weight")])
        assert found == pytest.approx(power, abs=1e-9)
        assert not moves_skip


def test_a_constant_in_the_branch_hides_its_power_and_not_that_of_its_change():
    def offset(x, h):
        return x + h + 100.0

    (trial,) = trials(*built(offset, 1))
    units = [Unit("0.map.weight")]
    assert trial.doubled(units)[0] < 0.1
    assert trial.change_doubled(units) == pytest.approx(1.0, abs=1e-6)


def test_a_branch_that_hardly_changes_has_no_power_of_its_change():
    for index, trial in enumerate(trials(*built(FUNCTIONS["normalised"][0]))):
        assert trial.change_doubled([Unit(f"{index}.map.weight")]) == 0.0


def test_the_change_of_a_saturated_branch_shrinks():
    def saturated(x, h):
        return x + torch.tanh(30 * h)

    for index, trial in enumerate(trials(*built(saturated))):
        assert trial.change_doubled([Unit(f"{index}.map.weight")]) < 0.0


@pytest.mark.parametrize("name", ["linear", "half a skip", "cube"])
def test_a_trial_has_the_traces_that_the_changed_block_would_have(name):
    model, x = built(FUNCTIONS[name][0])
    with torch.no_grad():
        inside = [x, model[0](x)]
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    for index, trial in enumerate(trials(model, x)):
        found = trial.traces(trial.with_factor([Unit(f"{index}.map.weight")], 1.7)).c
        other, _ = built(FUNCTIONS[name][0])
        other[index].map.weight.detach().mul_(1.7)
        # 2^15 entries of probes
        assert found == pytest.approx(c_of(dense(other[index], inside[index])), rel=0.03)
    assert all(torch.equal(p, before[key]) for key, p in model.named_parameters())


def test_a_scalar_that_multiplies_the_skip_as_well_is_told():
    class Whole(Layer):
        def __init__(self, _):
            super().__init__(None)
            self.gain = nn.Parameter(torch.tensor(0.9))

        def forward(self, x):
            return self.gain * (x + self.map(x))

    model = nn.Sequential(Whole(None), Whole(None)).double()
    x = torch.randn(2, WIDTH, generator=seeded(), dtype=torch.float64)
    for index, trial in enumerate(trials(model, x)):
        assert trial.doubled([Unit(f"{index}.gain")])[1]
        assert not trial.doubled([Unit(f"{index}.map.weight")])[1]


@pytest.mark.parametrize("target", [1e-3, 0.2, 3.0])
def test_the_factor_that_is_searched_for_gives_the_target(target):
    for index, trial in enumerate(trials(*built(FUNCTIONS["cube"][0]))):
        units = [Unit(f"{index}.map.weight")]
        factor = solve(trial, units, target, 0.02)
        found = trial.traces(trial.with_factor(units, factor)).c
        assert found == pytest.approx(target, rel=0.01)


def test_a_part_of_a_parameter_is_scaled_alone():
    part = torch.zeros(3, 3, dtype=torch.bool)
    part[1] = True
    scaled = Unit("w", part).scaled(torch.ones(3, 3), 2.0)
    assert scaled.sum(1).tolist() == [3.0, 6.0, 3.0]


def test_a_c_that_jumps_over_the_target_is_named_as_such():
    def kinked(x, h):
        return x + h * (h > 0.3)

    model, x = built(kinked, 1)
    (trial,) = trials(model, x[:1])
    units = [Unit("0.map.weight")]
    factors = torch.logspace(-0.5, 0.5, 300).tolist()
    found = [trial.traces(trial.with_factor(units, factor)).c for factor in factors]
    low, high = max(pairwise(found), key=lambda pair: pair[1] / max(pair[0], 1e-3))
    assert high > 1.1 * low
    target = (low + high) / 2
    with pytest.raises(UnreachableError) as caught:
        solve(trial, units, target, 1e-3)
    assert caught.value.low[1] < target < caught.value.high[1]
    with pytest.raises(ValueError, match=r"jumps from .* Pass a larger batch"):
        plan(model, x[:1], c=target, rtol=1e-3, generator=seeded())


def test_a_saturated_branch_says_between_which_values_c_is():
    model, x = built(lambda x, h: x + 0.1 * torch.tanh(h), 1)
    with pytest.raises(ValueError, match=r"has between .* at every scale of its weights"):
        plan(model, x, c=0.5, generator=seeded())
