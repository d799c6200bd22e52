import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cases_models import MODELS, make
from cases_modules import Residual, mlp, stack
from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.recording import record


def dense(branch, x):
    return torch.func.jacrev(branch)(x).reshape(x.numel(), x.numel())


def double(build, shape):
    model, x = make(build, shape)
    return model.double().eval(), x.double()


def test_a_module_is_found_by_its_name_and_by_itself_at_every_call():
    linear = nn.Linear(4, 4)
    recording = record(nn.Sequential(linear, nn.Tanh(), linear), torch.ones(1, 4), None)
    assert [call.name for call in recording.calls if call.name] == ["0", "1", "0"]
    twice = recording.of_module(linear)
    assert len(twice) == 2
    assert recording.of_module("0") == twice
    assert recording.of_module("none") == []


def test_a_tensor_ends_every_module_that_it_comes_out_of_the_innermost_first():
    recording = record(nn.Sequential(nn.Sequential(nn.Linear(4, 4))), torch.ones(1, 4), None)
    (output,) = recording.calls[-1].outputs
    assert [call.name for call in recording.ending([output]) if call.name] == ["0.0", "0"]


def test_nothing_comes_out_of_a_shortcut_that_is_empty():
    relu, shortcut = nn.ReLU(), nn.Sequential()
    recording = record(nn.Sequential(relu, shortcut, nn.Identity()), torch.randn(1, 4), None)
    output = recording.graph.order[-1]
    assert [call.name for call in recording.ending([output]) if call.name] == ["0"]


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoints_are_looked_into(use_reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = stack(lambda: Residual(mlp(6, 9)))

        def forward(self, x):
            for layer in self.layers:
                x = checkpoint(layer, x, use_reentrant=use_reentrant)
            return x

    model, x = double(Checkpointed, (1, 6))
    blocks = residual_blocks(model.requires_grad_(False), x)
    assert [block.name for block in blocks] == ["layers.0", "layers.1", "layers.2"]
    probes = torch.eye(6, dtype=torch.float64).reshape(6, 1, 6)
    X = dense(model.layers[0].body, x)
    torch.testing.assert_close(blocks[0].vjp(probes).reshape(6, 6), X)


class RunningMean(nn.Module):
    """Keep statistics of what passes, in place; read them on the way where asked to."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.register_buffer("mean", torch.zeros(6, dtype=torch.float64))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        self.calls.add_(1)
        if self.how == "no grad":
            with torch.no_grad():
                self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        if self.how == "detached":
            self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        if self.how == "read":
            return x * self.mean.add_(1.0)
        return x


@pytest.mark.parametrize("how", ["no grad", "detached", "read"])
def test_statistics_that_are_kept_in_place_cost_the_recording_nothing(how):
    read = how == "read"
    model = nn.Sequential(mlp(6, 9), RunningMean(how), mlp(6, 9)).double()
    x = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = {key: b.clone() for key, b in model.named_buffers()}
    own = dict(model.named_buffers())
    recording = record(model, x, None)
    recording.settle(named=False)
    followed = recording.maps.recorded is not None
    assert followed is not read  # autograd's graph may keep what is read, and is evaluated anew
    assert recording.maps.refusal == ("it writes to tensors outside itself" if read else "")
    for key, b in model.named_buffers():
        assert b is own[key]
        assert torch.equal(b, before[key])
    if followed:
        cut = recording.settle(named=False)
        segment = recording.segment(cut[0], cut[-1])
        probes = torch.eye(12, dtype=torch.float64).reshape(12, 2, 6)
        expected = dense(nn.Sequential(model[0], model[2]).requires_grad_(False), x)
        torch.testing.assert_close(segment.vjp(probes).reshape(12, 12), expected)


def test_batch_normalisation_in_train_mode_is_recorded_and_its_statistics_stay():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    before = {key: b.clone() for key, b in model.named_buffers()}
    recording = record(model, torch.randn(2, 2, 8, 8), "batch")
    recording.settle(named=False)
    assert recording.maps.recorded is not None
    assert all(torch.equal(b, before[key]) for key, b in model.named_buffers())


BAD_CALLS = {
    "tokens": (lambda x: x + 1, torch.tensor([1]), TypeError, "`x` has dtype torch.int64"),
    "no tensor": (lambda x: {"y": 1}, torch.ones(2), TypeError, "returns a dict"),
    "constant": (lambda x: torch.ones(2), torch.ones(2), ValueError, "does not depend on `x`"),
    "dropout": (nn.Dropout(0.5), torch.ones(9), ValueError, "dropout in train mode"),
    "random": (lambda x: x + torch.randn(9), torch.ones(9), ValueError, "different results when"),
    "nan": (lambda x: x / 0 * 0, torch.ones(2), ValueError, "NaN or infinite entries"),
    "batch": (nn.BatchNorm1d(3), torch.ones(2, 3), ValueError, "`batch_norm` is None"),
    "wide": (nn.Linear(3, 3), torch.ones(3).double(), TypeError, "dtype torch.float64"),
    "short": (nn.Linear(3, 3), torch.ones(2), RuntimeError, "shape"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_what_cannot_be_recorded_is_refused(case):
    f, x, error, match = BAD_CALLS[case]
    with pytest.raises(error, match=match):
        residual_blocks(f, x)


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_a_compiled_model_is_recorded_as_it_was_written():
    model, x = make(MODELS["sequential"].build, (2, 5))
    assert len(residual_blocks(torch.compile(model), x)) == 3


def test_no_hook_is_left_behind():
    model = nn.Sequential(*[Residual(nn.Linear(4, 4)) for _ in range(2)])
    residual_blocks(model, torch.randn(1, 4, generator=torch.Generator().manual_seed(0)))
    kept = {k: v for k, v in vars(nn.modules.module).items() if k.startswith("_global_") and v}
    assert kept == {}
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs")
    assert not any(getattr(m, name) for m in model.modules() for name in hooks)
