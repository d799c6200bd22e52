import copy

import pytest
import torch
from torch import nn

from cases_models import Residual, mlp, stack
from isometry.nn.scale.training.monitor import JacobianMonitor


def seeded():
    return torch.Generator().manual_seed(0)


def model_and_input():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = lambda: Residual(nn.Sequential(mlp(12, 24), nn.Dropout(0.5)))  # noqa: E731
        return nn.Sequential(stack(body), nn.BatchNorm1d(12)), torch.randn(4, 12)


def test_a_training_loop_is_monitored_and_left_alone():
    model, x = model_and_input()
    logged = []
    monitor = JacobianMonitor(2, log=lambda *args: logged.append(args), generator=seeded())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    returned = []
    for step in range(5):
        optimiser.zero_grad()
        with torch.random.fork_rng():
            model(x).square().mean().backward()
        optimiser.step()
        returned.append(monitor(model, x[:1], step))
    assert [r is not None for r in returned] == [True, False, True, False, True]
    assert [(numbers, step) for step, numbers in monitor.history] == logged
    assert logged[0][0]["jacobian/c"] != logged[1][0]["jacobian/c"]
    assert len(monitor.last.blocks) == 3


def test_a_measurement_changes_nothing():
    model, x = model_and_input()
    model[0].eval()
    modes = [m.training for m in model.modules()]
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    JacobianMonitor(generator=seeded())(model, x[:1], 0)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_the_same_model_gives_the_same_numbers_at_every_step():
    model, x = model_and_input()
    monitor = JacobianMonitor(generator=seeded())
    assert monitor(model, x[:1], 0) == monitor(model, x[:1], 200)


def test_the_modes_are_put_back_after_an_error():
    model, x = model_and_input()
    with torch.no_grad():
        model[0][0].body[0][0].weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN or infinite weights"):
        JacobianMonitor(generator=seeded())(model, x[:1], 0)
    assert all(m.training for m in model.modules())


def test_a_model_without_blocks_has_no_c():
    numbers = JacobianMonitor(generator=seeded(), prefix="")(nn.Linear(3, 3), torch.ones(1, 3), 0)
    assert set(numbers) == {"s_min", "s_median", "s_max", "outliers"}


@pytest.mark.parametrize(("every", "error"), [(0, ValueError), (-3, ValueError)])
def test_a_bad_interval_is_refused(every, error):
    with pytest.raises(error, match=f"`every` is {every}"):
        JacobianMonitor(every)


def test_a_bad_step_is_refused():
    with pytest.raises(ValueError, match="`step` is -1"):
        JacobianMonitor()(nn.Linear(3, 3), torch.ones(1, 3), -1)


def test_blocks_are_followed_through_a_training_and_leave_it_bitwise_as_it_was():
    def trained(monitor):
        torch.manual_seed(0)
        model = stack(lambda: Residual(nn.Sequential(mlp(12, 24), nn.Dropout(0.1))))
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
        for step in range(5):
            model(torch.randn(4, 12)).square().mean().backward()
            if monitor is not None:
                monitor(model, torch.ones(2, 12), step)
            optimiser.step()
            optimiser.zero_grad()
        state = optimiser.state_dict()["state"]
        moments = [value for entry in state.values() for value in entry.values()]
        return [*model.parameters(), *moments, torch.get_rng_state()]

    with torch.random.fork_rng():
        logged = []
        monitor = JacobianMonitor(2, at="blocks", log=lambda *args: logged.append(args))
        measured, plain = trained(monitor), trained(None)
    assert all(torch.equal(a, b) for a, b in zip(measured, plain, strict=True))
    assert [step for _, step in logged] == [0, 2, 4]
    assert logged[0][0]["jacobian/c"] != logged[1][0]["jacobian/c"]
    assert len(monitor.last.blocks) == 3
    assert {"jacobian/growth", "jacobian/backward_max"} <= set(logged[0][0])


def test_the_scale_of_the_loss_is_not_in_the_numbers_of_the_blocks():
    model, x = stack(lambda: Residual(mlp(12, 24))), torch.randn(4, 12)
    monitor = JacobianMonitor(at="blocks")
    plain = monitor(model, x, 0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    scaler.scale(model(x).square().sum()).backward()
    assert monitor(model, x, 200) == plain
