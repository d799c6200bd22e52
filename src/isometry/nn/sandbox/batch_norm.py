"""Batch normalisation inside a Jacobian: whose statistics, said once, and constants always."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_ARGUMENTS = inspect.signature(functional.batch_norm)


class BatchNormPolicy(TorchFunctionMode):
    """Make every batch normalisation use the stated statistics, as constants."""

    def __init__(self, statistics: str | None) -> None:
        super().__init__()
        self.statistics = statistics
        self.layer = "a functional call"
        self.discovering = True
        self.seen: dict[str, bool] = {}
        """Layers met, and whether their running statistics are still the initial ones."""
        self._frozen: dict[str, tuple[Tensor, Tensor] | None] = {}

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Redirect ``F.batch_norm``; everything else runs as it is.

        Raises:
            ValueError: If the statistics are not stated, or not there.
        """
        if func is not functional.batch_norm:
            return func(*args, **(kwargs or {}))
        bound = _ARGUMENTS.bind(*args, **(kwargs or {}))
        bound.apply_defaults()
        call = bound.arguments
        if self.statistics is None and call["training"]:
            raise ValueError(
                f"`batch_norm` is None but {self.layer} normalises with the statistics of the "
                "batch; expected a statement: batch_norm='batch' (those of `x`, frozen) or 'eval'."
            )
        if self.statistics == "batch":
            call["running_mean"], call["running_var"] = self._frozen_moments(call["input"])
        elif call["running_mean"] is None:
            raise ValueError(
                f"`batch_norm` is 'eval' but {self.layer} keeps no running statistics; expected "
                "a layer that does. Use batch_norm='batch'."
            )
        if self.discovering:
            mean, variance = call["running_mean"], call["running_var"]
            self.seen[self.layer] = bool((mean == 0).all() and (variance == 1).all())
        call["training"] = False
        return func(*bound.args, **bound.kwargs)

    def _frozen_moments(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moments met in the first evaluation; a layer called twice has no memory."""
        known = self._frozen.get(self.layer)
        if known is not None and not self.discovering:
            return known
        moments = self._moments(h)
        if self.discovering:
            self._frozen[self.layer] = None if self.layer in self._frozen else moments
        return moments

    def _moments(self, h: Tensor) -> tuple[Tensor, Tensor]:
        values = h.detach().transpose(0, 1).flatten(1)
        if values.shape[1] < 2:
            raise ValueError(
                f"`x` gives {self.layer} one value per channel; expected at least 2 for "
                "batch_norm='batch'. Pass a batch, or batch_norm='eval'."
            )
        return values.mean(1), values.var(1, correction=0)
