"""What a measurement takes on one rank: bytes that are alive at once, and calls between ranks."""

import weakref
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from isometry.nn.sandbox.listener import Observer

_COMMUNICATING = ("c10d", "_c10d_functional")
_WAITING = ("wait_tensor", "barrier")


_OFTEN = 8
"""Operations after which sizes are asked for at the latest."""


class Cost(Observer):
    """Context that counts what the operations inside it make and send.

    It sees real, meta and fake tensors alike. Memory that was there before is not counted; add the
    model's own by :func:`held_bytes`.

    Attributes:
        peak: Largest number of bytes of tensors made inside that were alive at once.
        collectives: {operation: calls} that communicate with other ranks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self.collectives: Counter[str] = Counter()
        self._alive = 0
        self._known: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}
        self._calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace in _COMMUNICATING and not any(w in func.__name__ for w in _WAITING):
            self.collectives[func.__name__.split(".")[0].strip("_")] += 1
        result = func(*args, **(kwargs or {}))
        given = {_place(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for made in tree_leaves(result):
            if isinstance(made, Tensor) and _place(made) not in given:
                self._note(made)
        self._calls += 1
        if self._alive > self.peak or self._calls % _OFTEN == 0:
            self._measure_again()
        self.peak = max(self.peak, self._alive)
        return result

    def _note(self, made: Tensor) -> None:
        storage = _storage(made)
        if storage is None or (place := storage._cdata) in self._known:
            return
        size = storage.nbytes()
        self._known[place] = weakref.ref(storage), size
        self._alive += size
        weakref.finalize(storage, self._gone, place)

    def _measure_again(self) -> None:
        """Ask every storage for its size: FSDP2 empties one to free it, and fills it again."""
        for place, (reference, size) in list(self._known.items()):
            storage = reference()
            now = 0 if storage is None else storage.nbytes()
            if now != size:
                self._known[place] = reference, now
                self._alive += now - size

    def _gone(self, place: int) -> None:
        self._alive -= self._known.pop(place)[1]


def held_bytes(module: torch.nn.Module) -> int:
    """Return the bytes of a module's parameters and buffers on this rank."""
    held = {
        storage._cdata: storage.nbytes()
        for tensor in (*module.parameters(), *module.buffers())
        if (storage := _storage(tensor)) is not None
    }
    return sum(held.values())


def _storage(tensor: Any) -> Any:
    local = getattr(tensor, "_local_tensor", tensor)
    try:
        return local.untyped_storage()
    except (NotImplementedError, RuntimeError):  # a wrapper without memory of its own
        return None


def _place(tensor: Tensor) -> int:
    storage = _storage(tensor)
    return 0 if storage is None else storage._cdata
