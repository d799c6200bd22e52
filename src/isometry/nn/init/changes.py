"""New values for parameters: described, tried on a model without touching them, written at once."""

import hashlib
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from isometry.nn.init.schemes import draw, placed_like
from isometry.nn.sandbox.swap import swapped

_COMPILED = "_orig_mod."


@dataclass(frozen=True)
class Draw:
    """A recipe for random weights: the same numbers wherever it is followed."""

    scheme: str
    std: float
    """Root mean square of the entries."""
    seed: int
    transposed: bool = False
    """Whether the weight is stored as (in, out)."""

    def values(self, name: str, like: Tensor) -> Tensor:
        """Return the weights of the parameter of this name, drawn on the CPU."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        shape = tuple(like.shape[::-1] if self.transposed else like.shape)
        wide = like.dtype == torch.float64
        made = draw(self.scheme, shape, std=self.std, generator=generator, wide=wide)
        return made.T.contiguous() if self.transposed else made


@dataclass(frozen=True, eq=False)
class Change:
    """What a parameter becomes: a factor times given values, a constant or a recipe."""

    source: Tensor | Draw | float
    factor: float = 1.0

    def times(self, factor: float) -> "Change":
        """Return this change with one more factor."""
        return replace(self, factor=self.factor * factor)

    def values(self, name: str, like: Tensor) -> Tensor:
        """Return the new values for a parameter, in its type, place and sharding."""
        if isinstance(self.source, Tensor):
            precise = torch.promote_types(self.source.dtype, torch.float32)
            values = self.factor * self.source.to(precise)
            sharded = hasattr(values, "placements")
            return values.to(like) if sharded else placed_like(values, like)
        if isinstance(self.source, Draw):
            return placed_like(self.factor * self.source.values(name, like), like)
        return torch.full_like(like, self.source * self.factor)

    def kept(self) -> "Change":
        """Return the same change with values of its own, safe from a later write."""
        if isinstance(self.source, Tensor):
            return replace(self, source=self.source.detach().clone())
        return self


Changes = Mapping[str, Change]


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside a compiled one."""
    return getattr(model, "_orig_mod", model)


def plain_name(name: str) -> str:
    """Return a parameter's name without what compilation puts into it."""
    return name.replace(_COMPILED, "")


def parameters_of(root: nn.Module) -> dict[str, Tensor]:
    """Return what the model holds as parameters, each once, tied ones under their first name."""
    return {plain_name(name): p for name, p in root.named_parameters()}


def tried(root: nn.Module, changes: Changes) -> AbstractContextManager[None]:
    """Return a context in which the model holds changed parameters; its own stay as they are."""
    known = {plain_name(name): p for name, p in root.named_parameters()}
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
    known = parameters_of(root)
    for name, change in changes.items():
        _check_target(name, change, known)
    values = {name: change.values(name, known[name].detach()) for name, change in changes.items()}
    for name, value in values.items():
        if not torch.isfinite(_local(value)).all():
            raise ValueError(
                f"`plan` gives {name!r} values that {known[name].dtype} cannot hold; expected "
                "finite numbers. Use a wider type or a smaller c."
            )
    for name, value in values.items():
        known[name].detach().copy_(value)


def _local(value: Any) -> Tensor:
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
    return float(values.detach().abs().max()) <= largest


def seed_from(generator: torch.Generator) -> int:
    """Return a seed drawn from a generator."""
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def layout(root: nn.Module) -> dict[str, tuple[int, int, bool]]:
    """Return {name: (fan_in, fan_out, transposed)} of the weights of linear maps."""
    table: dict[str, tuple[int, int, bool]] = {}
    for prefix, module in root.named_modules():
        for key, p in module.named_parameters(recurse=False):
            if p.ndim < 2 or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
                continue
            swapped = getattr(module, "transposed", False) or type(module).__name__ == "Conv1D"
            first, second = p.shape[0], p.shape[1]
            kernel = math.prod(p.shape[2:])
            fan_in, fan_out = (first, second) if swapped else (second, first)
            name = plain_name(f"{prefix}.{key}" if prefix else key)
            table[name] = (fan_in * kernel, fan_out * kernel, bool(swapped and p.ndim == 2))
    return {name: table[name] for name in parameters_of(root) if name in table}
