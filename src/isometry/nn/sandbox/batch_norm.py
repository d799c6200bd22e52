"""Batch normalisation inside a Jacobian: whose statistics, said once, and constants always."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_ARGUMENTS = inspect.signature(functional.batch_norm)
_PLAIN = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
_INSTANCES = (functional.instance_norm, torch.instance_norm)


class BatchNormPolicy(TorchFunctionMode):
    """Make every batch normalisation use the stated statistics, as constants.

    Met are the function of torch.nn, that of torch, and the operators that exported graphs call;
    what runs inside a scripted module is not, and is noticed by the listener.
    """

    def __init__(self, statistics: str | None) -> None:
        super().__init__()
        self.statistics = statistics
        self.layer = "a functional call"
        self.discovering = True
        self.in_force = False
        """Whether a sandbox is open; an interrupt inside torch may leave the mode on its stack."""
        self.known = False
        """Whether what normalises now is followed here, or is the norm of each instance."""
        self.seen: dict[str, bool] = {}
        """Layers met, and whether their running statistics are still the initial ones."""
        self._frozen: dict[str, tuple[Tensor, Tensor] | None] = {}

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Redirect batch normalisation; everything else runs as it is.

        Raises:
            ValueError: If the statistics are not stated, or not there.
        """
        kwargs = kwargs or {}
        if not self.in_force:
            return func(*args, **kwargs)
        call = _operands(func, args, kwargs)
        if call is None and func not in _INSTANCES:
            return func(*args, **kwargs)
        if call is not None and self.statistics == "own" and call["running_mean"] is None:
            call = None
        self.known = True
        try:
            if call is None:
                return func(*args, **kwargs)
            self._state(call)
            if func is not functional.batch_norm:  # an exported graph updates them afterwards
                for key in ("running_mean", "running_var"):
                    call[key] = call[key].clone()
            normalised = functional.batch_norm(
                call["input"], call["running_mean"], call["running_var"], call["weight"],
                call["bias"], False, call["momentum"], call["eps"],
            )  # fmt: skip
            return _as_returned(func, normalised, call)
        finally:
            self.known = False

    def _state(self, call: dict[str, Any]) -> None:
        """Put the stated statistics into a call.

        Raises:
            ValueError: If the statistics are not stated, or not there.
        """
        if self.statistics is None and call["training"]:
            raise ValueError(unstated(self.layer))
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


def unstated(layer: str) -> str:
    """Return the sentence that asks for a statement."""
    return (
        f"`batch_norm` is None but {layer} normalises with the statistics of the "
        "batch; expected a statement: batch_norm='batch' (those of `x`, frozen) or 'eval'."
    )


def _operands(func: Callable, args: Sequence, kwargs: Mapping) -> dict[str, Any] | None:
    """Return the operands of a batch normalisation by name, or None for another function."""
    if func is functional.batch_norm:
        bound = _ARGUMENTS.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)
    if func is torch.batch_norm:
        return dict(zip(_PLAIN, args, strict=False)) | dict(kwargs)
    if isinstance(func, OpOverloadPacket) and "batch_norm" in func.__name__:
        func = func.default
    if not isinstance(func, OpOverload) or "batch_norm" not in func.overloadpacket.__name__:
        return None
    names = [argument.name for argument in func._schema.arguments]
    call: dict[str, Any] = dict(zip(names, args, strict=False)) | dict(kwargs)
    if func.namespace != "aten" or "input" not in call or "weight" not in call:
        return None  # a step of a backward pass, or of several processes
    call.setdefault("training", True)  # said by the operator's name
    call["eps"] = call.get("eps", call.get("epsilon", 1e-5))
    return {"running_mean": None, "running_var": None, "momentum": 0.1} | call


def _as_returned(func: Any, normalised: Tensor, call: Mapping[str, Any]) -> Any:
    """Return what the function returns besides the normalised values."""
    overload = func.default if isinstance(func, OpOverloadPacket) else func
    if not isinstance(overload, OpOverload) or len(overload._schema.returns) == 1:
        return normalised
    mean, variance = call["running_mean"], call["running_var"]
    saved = [normalised, mean.clone(), (variance + call["eps"]).rsqrt()]
    running = [mean.clone(), variance.clone()] if "functional" in str(overload) else []
    reserve = [normalised.new_zeros(0)] * (len(overload._schema.returns) - 3 - len(running))
    return (*saved, *reserve, *running)
