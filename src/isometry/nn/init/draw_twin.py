"""The whole model behind a sharded one, without weights: what a pass can be followed through."""

from typing import Any

import torch
from torch import Tensor, nn

_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called", "_backward_hooks",
    "_backward_pre_hooks", "_non_persistent_buffers_set",
)  # fmt: skip


def is_sharded(model: nn.Module) -> bool:
    """Return whether a parameter is held by several processes together."""
    return any(hasattr(p, "placements") for p in model.parameters())


def meta_twin(model: nn.Module) -> nn.Module:
    """Return a model of the same modules on the meta device, whole, without the hooks of a mesh.

    Args:
        model: A module whose parameters are sharded (FSDP2, plans for tensor parallelism) or not;
            it stays as it is.
    """
    return _twin(model, {})


def _twin(module: nn.Module, made: dict[int, Any]) -> nn.Module:
    if id(module) in made:
        return made[id(module)]
    new = object.__new__(_plain_class(type(module)))
    made[id(module)] = new
    new.__dict__.update(module.__dict__)
    for name in _HOOKS:
        new.__dict__[name] = type(module.__dict__[name])()
    new.__dict__["_parameters"] = {
        key: None if p is None else made.setdefault(id(p), nn.Parameter(_bare(p)))
        for key, p in module._parameters.items()
    }
    new.__dict__["_buffers"] = {
        key: None if b is None else _bare(b) for key, b in module._buffers.items()
    }
    new.__dict__["_modules"] = {
        key: None if child is None else _twin(child, made) for key, child in module._modules.items()
    }
    return new


def _bare(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _plain_class(cls: type) -> type:
    """Return the class that FSDP2 has put its own in front of."""
    from torch.distributed.fsdp import FSDPModule  # noqa: PLC0415 (optional in torch)

    if not issubclass(cls, FSDPModule):
        return cls
    return next(base for base in cls.__mro__[1:] if not issubclass(base, FSDPModule))
