"""Watch the aten calls of a function: what they write to, and put it back afterwards."""

import textwrap
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from isometry.nn.sandbox.listener import Observer, tensors_in


class NotRecordable(RuntimeError):  # noqa: N818
    """The tape has no exact route for this function; the message says which step stopped it."""


def first_line(reason: object) -> str:
    """Return the first line of a reason, shortened."""
    return textwrap.shorten(str(reason).strip().split("\n")[0], 120, placeholder=" ...")


class FusedRecurrence(NotRecordable):
    """A fused recurrent layer was met; its plain ops can be recorded instead."""


class WriteGuard(Observer):
    """Remember every tensor from outside that the function writes to, to put it back."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: dict[int, torch.UntypedStorage] = {}
        self.saved: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.graph_holds = True
        """Whether autograd's graph keeps nothing of what will be put back."""

    def save(self, value: Tensor) -> None:
        """Remember the content of memory that was there before the recording."""
        storage = value.untyped_storage()
        if storage._cdata not in self.inside and storage._cdata not in self.saved:
            self.saved[storage._cdata] = (storage, storage.clone())

    def note_reads(self, operands: Sequence[Tensor], *, followed: bool) -> None:
        """Note whether autograd may keep an operand that will be put back after the pass."""
        if self.saved and torch.is_grad_enabled():
            kept = any(x.untyped_storage()._cdata in self.saved for x in operands)
            if kept and (followed or any(x.requires_grad for x in operands)):
                self.graph_holds = False

    def adopt(self, result: Any, args: Any) -> None:
        """Note the memory that an op allocated."""
        known = {x.untyped_storage()._cdata for x in tensors_in(args)}
        for value in tensors_in(result):
            storage = value.untyped_storage()
            if storage._cdata not in known:
                self.inside[storage._cdata] = storage

    def restore(self) -> None:
        """Put back what was written to; what a graph keeps of it is wrong from then on."""
        for storage, content in self.saved.values():
            storage.copy_(content, False)


def check_deterministic(func: OpOverload) -> None:
    if torch.Tag.nondeterministic_seeded in func.tags:
        raise NotRecordable(f"{func} draws random numbers")


class Through(Observer):
    """Let every op pass: autograd works again inside a handler that runs under this mode."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class CircularJoin(TorchFunctionMode):
    """Pad circularly by joining slices: torch itself fills a buffer piece by piece."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        named = dict(zip(("input", "pad", "mode"), args, strict=False)) | (kwargs or {})
        if func is functional.pad and named.get("mode") == "circular" and min(named["pad"]) >= 0:
            return _padded_circularly(named["input"], named["pad"])
        return func(*args, **(kwargs or {}))


def _padded_circularly(x: Tensor, pad: Sequence[int]) -> Tensor:
    for i in range(len(pad) // 2):
        dim, before, after = x.ndim - 1 - i, pad[2 * i], pad[2 * i + 1]
        last = x.narrow(dim, x.shape[dim] - before, before)
        x = torch.cat([last, x, x.narrow(dim, 0, after)], dim)
    return x
