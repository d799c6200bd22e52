"""Every aten call of an evaluation, seen once: collectives, writes, batch normalisation."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from isometry.nn.sandbox.batch_norm import BatchNormPolicy
from isometry.nn.sandbox.ranks import Ranks
from isometry.nn.sandbox.undo import Undo

_PLAIN = (Tensor, torch.nn.Parameter, torch.nn.Buffer)


class Observer(TorchDispatchMode):
    """See every aten call; the base class would import the compiler for its own sake."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Listener(Observer):
    """Note what a function does beside computing its result, and take back what it writes."""

    def __init__(
        self, ranks: Ranks, owned: dict[int, torch.UntypedStorage], policy: BatchNormPolicy
    ) -> None:
        super().__init__()
        self._ranks = ranks
        self._policy = policy
        self._owned = owned
        self.saved: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        """Memory of the model that was written to, with what it held before."""
        self.normalised = False
        """Whether a batch normalisation used the statistics of the batch, whoever called it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self._ranks.note(func, args)
        kwargs = kwargs or {}
        if func._schema.is_mutable or "batch_norm" in func.overloadpacket.__name__:
            for value in written(func, args, kwargs):
                self._save(value)
            if not self._policy.known:
                self._notice(func, args, kwargs)
        with torch._C.DisableTorchFunction():  # an op of a scripted module is not to be followed
            return func(*args, **kwargs)

    def listen(self, undo: Undo) -> None:
        """Enter; on leaving, memory of the model holds what it held."""
        undo.before(self._write_back)
        depth = len(_get_current_dispatch_mode_stack())
        undo.before(_leave_modes, depth)
        self.__enter__()

    def _notice(self, func: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Note a batch normalisation that the policy did not follow."""
        name = func.overloadpacket.__name__
        if "batch_norm" in name and "backward" not in name:
            training = bound(func, args, kwargs).get("training", "no_update" not in name)
            self.normalised |= bool(training)
            if not training:
                self._policy.seen.setdefault(self._policy.layer, False)

    def _save(self, value: Tensor) -> None:
        if type(value) in _PLAIN:
            storage = value.untyped_storage()
            if storage._cdata in self._owned and storage._cdata not in self.saved:
                self.saved[storage._cdata] = (storage, storage.clone())

    def _write_back(self) -> None:
        for storage, content in self.saved.values():
            storage.copy_(content, False)


def _leave_modes(depth: int) -> None:
    while len(modes := _get_current_dispatch_mode_stack()) > depth:
        modes[-1].__exit__(None, None, None)


def tensors_in(*values: Any) -> list[Tensor]:
    """Return the tensors among operands or results of an aten call, those in lists as well."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += tensors_in(*value)
        elif isinstance(value, dict):
            found += tensors_in(*value.values())
    return found


def bound(func: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the operands of an op by their names, defaults filled in."""
    arguments = func._schema.arguments
    named = dict(zip([a.name for a in arguments if not a.kwarg_only], args, strict=False))
    return {a.name: a.default_value for a in arguments} | named | kwargs


def written(func: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors that the op writes to; batch norm's schema hides its statistics."""
    operands = bound(func, args, kwargs)
    names = [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
    name = func.overloadpacket.__name__
    updates = operands.get("training") is True or name == "_batch_norm_with_update"
    if "batch_norm" in name and updates:
        names += ["running_mean", "running_var"]
    return tensors_in(*(operands.get(name) for name in names))
