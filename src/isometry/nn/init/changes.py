"""New values for parameters: described, tried on a model without touching them, written at once."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from isometry.nn.init.schemes import draw, placed_like
from isometry.nn.roles.uses import WeightMap
from isometry.nn.sandbox.precision import wide_on_cpu
from isometry.nn.sandbox.swap import swapped
from isometry.nn.sandbox.undo import Reversible
from isometry.nn.sandbox.unwrap import plain_parameters


@dataclass(frozen=True)
class Draw:
    """A recipe for random weights: the same numbers wherever it is followed.

    Attributes:
        scheme: How a matrix is drawn.
        std: Root mean square of the entries.
        seed: Of the draw, together with the parameter's name.
        order: The parameter's axes as (stack, out, in); its own order without.
        stacked: How many axes of that order stack matrices.
        columns: Length of a matrix' rows; None where the parameter is one kernel or one matrix.
    """

    scheme: str
    std: float
    seed: int
    order: tuple[int, ...] | None = None
    stacked: int = 0
    columns: int | None = None

    @staticmethod
    def of(described: WeightMap, scheme: str, std: float, seed: int) -> "Draw":
        """Return the recipe that draws every matrix of a linear map."""
        columns = None if described.kernel else described.fan_in
        return Draw(scheme, std, seed, described.order, described.stacked, columns)

    def values(self, name: str, like: Tensor) -> Tensor:
        """Return the weights of the parameter of this name, drawn on the CPU."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        order = self.order or tuple(range(like.ndim))
        shape = tuple(like.shape[axis] for axis in order)
        stack = math.prod(shape[: self.stacked])
        single = shape
        if self.columns is not None:
            single = (math.prod(shape) // (stack * self.columns), self.columns)
        made = [self._matrix(single, like.dtype, generator) for _ in range(stack)]
        inverse = tuple(order.index(axis) for axis in range(like.ndim))
        return torch.stack(made).reshape(shape).permute(inverse).contiguous()

    def _matrix(
        self, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
    ) -> Tensor:
        wide = dtype in (torch.float64, torch.complex128)
        parts = [
            draw(self.scheme, shape, std=self.std, generator=generator, wide=wide)
            for _ in range(1 + dtype.is_complex)
        ]
        return torch.complex(*parts) / math.sqrt(2) if dtype.is_complex else parts[0]


@dataclass(frozen=True, eq=False)
class Change:
    """What a parameter becomes: a factor times given values, a constant or a recipe."""

    source: Tensor | Draw | float
    factor: float = 1.0
    weights: Tensor | None = None
    """Further factors, one for every entry; on the CPU."""

    def times(self, factor: float) -> "Change":
        """Return this change with one more factor."""
        return replace(self, factor=self.factor * factor)

    def times_on(self, factor: float, part: Tensor | None) -> "Change":
        """Return this change with one more factor on a part of the entries, or on all."""
        if part is None:
            return self.times(factor)
        return self.weighted(torch.where(part, factor, 1.0))

    def weighted(self, weights: Tensor) -> "Change":
        """Return this change with one more factor for every entry."""
        known = 1.0 if self.weights is None else self.weights
        return replace(self, weights=known * wide_on_cpu(weights))

    def values(self, name: str, like: Tensor) -> Tensor:
        """Return the new values for a parameter, in its type, place and sharding."""
        if isinstance(self.source, Tensor):
            precise = torch.promote_types(self.source.dtype, torch.float32)
            values = self._scaled(self.source.to(precise))
            sharded = hasattr(values, "placements")
            return values.to(like) if sharded else placed_like(values, like)
        if isinstance(self.source, Draw):
            return placed_like(self._scaled(self.source.values(name, like)), like)
        if self.weights is None:
            return torch.full_like(like, self.source * self.factor)
        return placed_like(self._scaled(torch.full(like.shape, self.source)), like)

    def _scaled(self, values: Tensor) -> Tensor:
        scaled = self.factor * values
        return scaled if self.weights is None else scaled * self.weights.to(scaled)

    def kept(self) -> "Change":
        """Return the same change with values of its own, safe from a later write."""
        if isinstance(self.source, Tensor):
            return replace(self, source=self.source.detach().clone())
        return self


Changes = Mapping[str, Change]


def tried(root: nn.Module, changes: Changes) -> Reversible[None]:
    """Return a context in which the model holds changed parameters; its own stay as they are."""
    known: dict[str, Any] = plain_parameters(root)
    new = {
        known[name]: nn.Parameter(change.values(name, known[name].detach()))
        for name, change in changes.items()
    }
    return swapped(root, new)


@torch.no_grad()
def write(root: nn.Module, changes: Changes) -> None:
    """Write all changes or, where one cannot be written, none.

    Raises:
        ValueError: If a parameter is missing, of another shape, on the meta device, or its new
            values are not finite.
    """
    known = plain_parameters(root)
    for name, change in changes.items():
        _check_target(name, change, known)
    values = {name: change.values(name, known[name].detach()) for name, change in changes.items()}
    for name, value in values.items():
        if not torch.isfinite(local(value)).all():
            raise ValueError(
                f"`plan` gives {name!r} values that {known[name].dtype} cannot hold; expected "
                "finite numbers. Use a wider type or a smaller c."
            )
    for name, value in values.items():
        local(known[name].detach()).copy_(local(value))


def local(value: Any) -> Tensor:
    """Return the part of a tensor that this process holds."""
    return value.to_local() if hasattr(value, "to_local") else value


def _check_target(name: str, change: Change, known: Mapping[str, Tensor]) -> None:
    parameter = known.get(name)
    wanted = change.source.shape if isinstance(change.source, Tensor) else None
    if parameter is None or (wanted is not None and parameter.shape != wanted):
        found = "no such parameter" if parameter is None else f"shape {tuple(parameter.shape)}"
        due = f" of shape {tuple(wanted)}" if wanted is not None else ""
        raise ValueError(
            f"`plan` changes {name!r}{due}, but the model has {found}; expected the model that "
            "was planned, or one built alike."
        )
    if parameter.is_meta:
        raise ValueError(
            f"`model` has {name!r} on the meta device; expected parameters with storage. Call "
            "`model.to_empty(device=...)` first."
        )


def vanishing(values: Tensor, largest: float) -> bool:
    """Return whether every entry is at most ``largest`` in size (never for NaN)."""
    size: Any = values.detach().abs().max()
    return float(size.full_tensor() if hasattr(size, "full_tensor") else size) <= largest
