"""Token ids have no derivative: the point is what the model makes of them first."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from isometry.nn.sandbox.unwrap import plain_parameters


class FoundLookup(BaseException):
    """The forward pass has done what was wanted of it; not for `except Exception`."""


class Lookup(TorchFunctionMode):
    """Watch for the first floating-point tensor that a function makes of the ids.

    Args:
        ids: The very tensor that the model is given.
        point: What to put in the place of that tensor; None finds it and stops the pass.
    """

    def __init__(self, ids: Tensor, point: Tensor | None = None) -> None:
        super().__init__()
        self.value: Tensor | None = None
        """What the function made of the ids."""
        self.function = ""
        self.table: Tensor | None = None
        """Where it looked the ids up, if it did."""
        self._ids = ids
        self._known = [ids]
        self._point = point
        self._done = False

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Call the function; replace its result where it is the first one.

        Raises:
            FoundLookup: If it was to be found only.
        """
        kwargs = kwargs or {}
        operands = [] if self._done else tree_leaves((args, kwargs))
        if not any(operand is known for operand in operands for known in self._known):
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            return result
        if not result.is_floating_point():
            if func is functional.one_hot or self._same_ids(result):
                self._known.append(result)
            return result
        self._done = True
        if self._point is not None:
            return self._point
        tables = [x for x in operands if isinstance(x, Tensor) and x.is_floating_point()]
        self.value, self.function = result.detach().clone(), getattr(func, "__name__", str(func))
        self.table = tables[0] if tables else None
        raise FoundLookup

    def _same_ids(self, result: Tensor) -> bool:
        same = result.numel() == self._ids.numel() and result.dtype != torch.bool
        return same and torch.equal(result.reshape(-1), self._ids.reshape(-1).to(result.dtype))

    def described(self, model: object, label: str) -> str:
        """Return what the point is, in words."""
        names = plain_parameters(model) if isinstance(model, nn.Module) else {}
        name = next((name for name, p in names.items() if p is self.table), "")
        return f"what `{self.function}` makes of `{label}`" + (f" with `{name}`" if name else "")
