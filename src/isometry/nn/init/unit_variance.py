"""The variance of every linear map's output made 1 while the pass runs, map after map."""

from collections.abc import Mapping

import torch
from torch import Tensor

from isometry.nn.init.changes import Change
from isometry.nn.init.measured import MeasuredModel
from isometry.nn.roles.uses import MapCall
from isometry.nn.sandbox.precision import wide
from isometry.nn.sandbox.unwrap import plain_parameters

_ROUNDS, _CLOSE = 5, 1e-4
"""Corrections of a map whose operation adds a bias, and the relative distance that ends them."""


def unit_variance(model: MeasuredModel, changes: Mapping[str, Change]) -> dict[str, Change]:
    """Return the changes with factors that give every map an output of unit variance at x.

    One pass is enough: every map is scaled when it runs, so that the next one sees its output.
    Parts of a parameter that are applied one by one, as the experts of a bank, are scaled each.

    Raises:
        NotImplementedError: If the model cannot be followed.
    """
    known = plain_parameters(model.root)
    scaled = _Scaled(known, changes)
    if not model.follow(changes, scaled.apply):
        raise NotImplementedError(
            "`model` cannot be followed from one linear map to the next (it is scripted, or "
            "differentiates inside); expected a model of torch operations. Use another rule."
        )
    return dict(changes) | {
        name: changes.get(name, Change(known[name].detach())).weighted(factors)
        for name, factors in scaled.factors.items()
    }


class _Scaled:
    """The factors of every parameter, entry by entry, as the pass finds them."""

    def __init__(self, known: Mapping[str, Tensor], changes: Mapping[str, Change]) -> None:
        self.factors: dict[str, Tensor] = {}
        self._known, self._changes = known, changes
        self._done: dict[tuple, Tensor] = {}

    def apply(self, call: MapCall) -> Tensor:
        """Run a map with its output scaled, and keep the factor."""
        if call.name not in self._changes or call.weight.is_complex():
            return call.run(call.weight)
        part = (call.name, call.weight.storage_offset(), call.weight.shape, call.weight.stride())
        if part not in self._done:
            self._done[part] = _factor(call)
            self._keep(call, self._done[part])
        return call.run(call.weight * self._done[part])

    def _keep(self, call: MapCall, factor: Tensor) -> None:
        name = call.scale
        parameter = self._known[name]
        ones = torch.empty_strided(parameter.shape, parameter.stride(), dtype=torch.float64)
        own = self.factors.setdefault(name, ones.fill_(1.0))
        if call.direct:
            offset = call.weight.storage_offset() - parameter.storage_offset()
            pairs = list(zip(call.weight.shape, call.weight.stride(), strict=True))
            sizes = [size if stride else 1 for size, stride in pairs]  # an expanded axis is one
            own.as_strided(sizes, [stride for _, stride in pairs], offset).mul_(factor.cpu())
        else:
            own.mul_(float(wide(factor).mean()))


def _factor(call: MapCall) -> Tensor:
    """Return what gives the output unit variance, one number for every matrix of a stack."""
    weight = call.weight
    stacked = call.contracted is not None and weight.ndim == 3 and weight.stride(0) > 0
    count = len(weight) if stacked and call.direct else 1
    factor = weight.new_ones((count,) + (1,) * (weight.ndim - 1))
    for _ in range(_ROUNDS):
        outputs = wide(call.run(weight * factor)).reshape(count, -1)
        deviation = outputs.std(dim=1, correction=0).reshape(factor.shape)
        if ((deviation - 1).abs() < _CLOSE).all():
            break
        factor = factor / torch.where(deviation > 0, deviation, 1.0).to(factor)
    return factor
