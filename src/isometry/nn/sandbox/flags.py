"""Flags of the process that decide which kernels run: plain ones have every derivative."""

import sys
import threading
import warnings
from typing import Any

import torch
import torch.utils.checkpoint
from torch.nn.attention import SDPBackend, _cur_sdpa_kernel_backends, _sdpa_kernel
from torch.utils.checkpoint import CheckpointFunction

from isometry.nn.sandbox.undo import Undo

_PLAIN = "_checkpoint_without_reentrant_generator"


def allow_gradients(undo: Undo) -> None:
    """Switch gradients on and inference mode off."""
    undo.before(torch.set_grad_enabled, torch.is_grad_enabled())
    if torch.is_inference_mode_enabled():
        guard = torch.inference_mode(False)
        undo.before(_leave_guard, guard)
        guard.__enter__()
    torch.set_grad_enabled(True)


def _leave_guard(guard: torch.inference_mode) -> None:
    if not torch.is_inference_mode_enabled():
        guard.__exit__(None, None, None)


def use_plain_kernels(undo: Undo, device: torch.device, *, recurrent: bool) -> None:
    """Take attention as products, recurrent layers without cuDNN, compiled code eagerly."""
    undo.before(_sdpa_kernel, _cur_sdpa_kernel_backends())
    _sdpa_kernel([SDPBackend.MATH])
    fast_path = torch.backends.mha.set_fastpath_enabled  # of torch.nn's attention: no derivative
    undo.before(fast_path, torch.backends.mha.get_fastpath_enabled())
    fast_path(False)
    if device.type == "cuda" and recurrent:  # cuDNN's have one derivative
        undo.before(torch._C._set_cudnn_enabled, torch._C._get_cudnn_enabled())
        torch._C._set_cudnn_enabled(False)
    use_eager_code(undo)


def use_eager_code(undo: Undo) -> None:
    """Run compiled code eagerly."""
    compiler: Any = sys.modules.get("torch._dynamo")
    if compiler is not None:
        undo.before(_set_stance, compiler, compiler.eval_frame._stance)
        compiler.set_stance("force_eager")


def _set_stance(compiler: Any, stance: Any) -> None:
    compiler.eval_frame._set_stance(stance)


def use_plain_checkpoints(undo: Undo) -> None:
    """Let checkpoints of this thread call their function, and keep what it computes.

    Reentrant ones allow no second backward; what the others compute again is not the pass that
    was recorded.
    """
    thread = threading.get_ident()
    known = vars(CheckpointFunction).get("apply")
    reentrant = CheckpointFunction.apply
    undo.before(_set_apply, known)

    def call(run: Any, preserve: Any, *args: Any) -> Any:
        if threading.get_ident() != thread:
            return reentrant(run, preserve, *args)
        return run(*args)

    CheckpointFunction.apply = staticmethod(call)  # pyright: ignore[reportAttributeAccessIssue]
    module: Any = torch.utils.checkpoint
    original = getattr(module, _PLAIN)
    undo.before(setattr, module, _PLAIN, original)

    def call_as_it_is(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            yield from original(*args, **kwargs)
        else:
            yield

    setattr(module, _PLAIN, call_as_it_is)


def _set_apply(known: Any) -> None:
    if known is not None:
        CheckpointFunction.apply = known
    elif "apply" in vars(CheckpointFunction):
        del CheckpointFunction.apply


def ignore_warning(undo: Undo, message: str) -> None:
    """Let warnings that begin with a message pass unseen."""
    kept = warnings.catch_warnings()
    undo.before(_end, kept)
    kept.__enter__()
    warnings.filterwarnings("ignore", message)


def _end(kept: Any) -> None:
    if kept._entered:
        kept.__exit__(None, None, None)
