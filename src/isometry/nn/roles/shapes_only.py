"""Weights that are spread over processes: a pass with their whole shapes and no values."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from isometry.nn.sandbox.undo import Undo, reversible

_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def is_sharded(roots: Sequence[nn.Module]) -> bool:
    """Return whether a parameter of a model is spread over processes."""
    return any(hasattr(p, "placements") for root in roots for p in root.parameters())


@reversible
def shapes_only(undo: Undo, roots: Sequence[nn.Module]) -> None:
    """Let modules hold whole shapes without values, and call no hook that gathers or splits.

    So one process follows the dataflow of a model whose weights it has a part of, and no other
    process has to take part. Gathering them layer by layer was rejected: it costs a whole pass.
    """
    known: dict[int, Tensor] = {}

    def shape(tensor: Tensor) -> Tensor:
        empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        return known.setdefault(id(tensor), empty)

    for module in dict.fromkeys(m for root in roots for m in root.modules()):
        tables: tuple[Any, ...] = (module._parameters, module._buffers)
        for held in tables:
            for key, tensor in list(held.items()):
                if tensor is not None:
                    undo.before(held.__setitem__, key, tensor)
                    held[key] = shape(tensor)
        for name in _HOOKS:
            hooks = getattr(module, name)
            undo.before(setattr, module, name, hooks)
            kept = {key: hook for key, hook in hooks.items() if not _of_torch(hook)}
            setattr(module, name, type(hooks)(kept))


def _of_torch(hook: Any) -> bool:
    inner = hook.func if isinstance(hook, partial) else hook
    return str(getattr(inner, "__module__", "")).startswith("torch.distributed")
