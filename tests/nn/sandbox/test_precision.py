import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cases_matrices import seeded
from cases_modules import Residual
from isometry import nn as inn
from isometry.nn.sandbox import precision


class NoFloat64(TorchDispatchMode):
    """Refuse double precision of what was not moved to the CPU, as Apple's devices do."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.moved = []
        monkeypatch.setattr(precision, "has_float64", lambda _: False)
        monkeypatch.setattr(precision, "_moved", self.move)

    def move(self, value):
        self.moved.append(value.detach().clone())
        return self.moved[-1]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default and isinstance(args[0], float):
            return torch.tensor(args[0])  # a number that autograd saved
        result = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        narrow = [x for x in given if x.is_floating_point() and x.dtype != torch.float64]
        made = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        stays = [x for x in narrow if not any(x is known for known in self.moved)]
        own = all(x.dtype != torch.float64 for x in given)  # with such a partner it is on the CPU
        if stays and own and any(x.dtype == torch.float64 for x in made):
            raise TypeError(f"{func} makes float64 of {stays[0].dtype} on a device without it")
        return result


@pytest.fixture(name="device")
def without_float64(monkeypatch):
    return NoFloat64(monkeypatch)


def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        branches = [
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))
            for _ in range(3)
        ]
        return nn.Sequential(*map(Residual, branches)), torch.randn(1, 6, 8)


def test_apple_devices_have_single_precision_alone():
    assert precision.widest(torch.device("mps")) == torch.float32
    assert precision.widest(torch.device("cuda")) == torch.float64


def test_the_guard_refuses_what_such_a_device_would(device):
    with device:
        assert precision.wide(torch.ones(2)).dtype == torch.float64
        with pytest.raises(TypeError, match="without it"):
            torch.ones(2).double()
        with pytest.raises(TypeError, match="without it"):
            torch.ones(2) @ torch.ones(2, 2).to(torch.float64).float().double()


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_a_spectrum_needs_no_float64_on_the_device(device, method):
    net, x = model()
    expected = inn.singular_spectrum(inn.JacobianOperator(net, x), method, generator=seeded())
    with device:
        J = inn.JacobianOperator(net, x)
        found = inn.singular_spectrum(J, method, generator=seeded())
        assert J.adjoint_gap() < 1e-5
    assert found.values == pytest.approx(expected.values, rel=1e-5)


def test_a_diagnosis_and_a_plan_need_none(device):
    net, x = model()
    with device:
        assert inn.diagnose(net, x, twin=True, generator=seeded()).c > 0
        plan = inn.plan(net, x, c=0.5, generator=seeded())
        inn.apply_(net, plan)
        assert inn.lint(net, x).findings is not None
        inn.learning_rates(net, 0.1)
        for rule in (inn.baselines.he, inn.baselines.deepnet, inn.baselines.lsuv):
            inn.apply_(net, rule(net, x))


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_entries_are_followed_by_positions_in_single_precision(monkeypatch, mode):
    monkeypatch.setattr(precision, "has_float64", lambda _: False)
    net = nn.Conv2d(2, 2, 3, padding=1, padding_mode=mode)
    x = torch.randn(1, 2, 5, 5, generator=seeded())
    J = inn.JacobianOperator(net, x, route="tape")
    dense = torch.func.jacrev(net)(x).reshape(J.shape)
    torch.testing.assert_close(J.to_dense(), dense)
