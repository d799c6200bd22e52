import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import CheckpointFunction, checkpoint

from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.sandbox.sandbox import Sandbox


def flags():
    return {
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "memory": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "checkpoint": vars(CheckpointFunction).get("apply"),
        "other checkpoint": torch.utils.checkpoint._checkpoint_without_reentrant_generator,
        "gradients": torch.is_grad_enabled(),
        "hooks": len(nn.modules.module._global_forward_pre_hooks),
    }


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return x + self.encoder(checkpoint(self.layer, x, use_reentrant=False))


def test_flags_are_plain_inside_and_back_afterwards():
    before = flags()

    def fail():
        with Sandbox(torch.ones(1), None), Sandbox(torch.ones(1), None):
            assert not torch.backends.mha.get_fastpath_enabled()
            assert not torch.backends.cuda.flash_sdp_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert flags() == before


def test_gradients_are_on_inside_whatever_the_caller_switched_off():
    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            with Sandbox(torch.ones(1), None):
                assert torch.ones(1, requires_grad=True).exp().requires_grad
            assert not torch.is_grad_enabled()


def test_threads_take_turns_and_leave_the_flags_as_they_were():
    torch.manual_seed(0)
    before, errors, model = flags(), [], Encoder().double().eval()
    x = torch.randn(1, 3, 8).double()

    def work():
        try:
            for _ in range(2):
                JacobianOperator(model, x)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert flags() == before


def test_another_thread_keeps_its_checkpoints_and_its_modules():
    saved, model = [], nn.Linear(2, 2)

    def train():
        x = torch.ones(1, 2, requires_grad=True)
        y = checkpoint(model, x, use_reentrant=True)
        saved.append(type(y.grad_fn).__name__)
        y.sum().backward()

    sandbox = Sandbox(torch.ones(1), None)
    with sandbox:
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    assert saved == ["CheckpointFunctionBackward"]
    assert model not in sandbox.names
    assert model.weight.grad is not None
