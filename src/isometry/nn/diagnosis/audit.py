"""Parameters that look uninitialised, switched off, or off scale among their siblings."""

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isometry._result import Result
from isometry.nn.blocks.uses import linear_maps
from isometry.nn.sandbox.sandbox import Sandbox
from isometry.nn.sandbox.unwrap import plain_modules, plain_parameters

_HUGE = 1e3
"""Root mean square above which no initialisation in use ends."""
_TINY = 1e-12
"""Root mean square below which non-zero entries are more likely left-over memory."""
_OFF = 3.0
"""Ratio to the median of the siblings that is reported."""


@dataclass(frozen=True)
class ParameterFinding(Result):
    """One parameter that stands out, with what to do.

    Attributes:
        name: The parameter's name in the model.
        finding: What is wrong with it, the rest of a sentence that begins with its name.
        remedy: What to do, a sentence.
    """

    name: str
    finding: str
    remedy: str

    def __str__(self) -> str:
        return f"`{self.name}` {self.finding}. {self.remedy}"


def audit_parameters(
    named: Mapping[str, Tensor], maps: Collection[str] | None = None
) -> list[ParameterFinding]:
    """Return what looks wrong with each of the named parameters, in their order.

    Siblings are parameters whose names differ in numbers only and whose shapes agree.

    Args:
        named: The parameters by their names.
        maps: Names of those that are linear maps, the only ones that zeros and constants are
            noted of: a layer scale of shape (C, 1, 1) or a class token starts like that. Without
            it, every parameter of two or more axes is one.
    """
    if maps is None:
        maps = [name for name, p in named.items() if p.ndim > 1]
    sizes = {name: _rms(p.detach()) for name, p in named.items() if _has_values(p)}
    found = [(name, _alone(named[name].detach(), s, name in maps)) for name, s in sizes.items()]
    odd = {name: ParameterFinding(name, *finding) for name, finding in found if finding}
    odd |= {f.name: f for f in _off_scale(named, sizes) if f.name not in odd}
    return [odd[name] for name in named if name in odd]


def audit_model(
    f: Callable[[Tensor], object], x: Tensor, sandbox: Sandbox, roots: Sequence[nn.Module]
) -> list[ParameterFinding]:
    """Audit the parameters, with one more pass to see which of them are linear maps."""
    named = named_parameters(roots)
    modules = {
        f"{place}.{name}".rstrip(".") if len(roots) > 1 else name: module
        for place, root in enumerate(roots)
        for name, module in plain_modules(root)
    }
    if any(hasattr(p, "placements") for p in named.values()):
        return audit_parameters(named)  # no pass is followed through collectives
    with sandbox:
        return audit_parameters(named, linear_maps(named, x, f, modules))


def outermost(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the modules that are in none of the others."""
    modules = list(modules)
    inner = {child for module in modules for child in module.modules() if child is not module}
    return [module for module in modules if module not in inner]


def named_parameters(roots: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Return the parameters of one model, or of several with their number in front."""
    prefix = len(roots) > 1
    return {
        f"{place}.{name}" if prefix else name: p
        for place, root in enumerate(roots)
        for name, p in plain_parameters(root).items()
    }


def _has_values(p: Tensor) -> bool:
    return p.is_floating_point() and p.device.type != "meta" and p.numel() > 0


def _rms(p: Tensor) -> float:
    """Return the root mean square in the one pass over the entries; not finite if one is not."""
    accumulate = torch.float32 if p.device.type == "mps" else torch.float64
    return float(torch.linalg.vector_norm(p, dtype=accumulate)) / math.sqrt(p.numel())


def _alone(p: Tensor, size: float, linear_map: bool) -> tuple[str, str] | None:
    """Return the finding and the remedy for one parameter without its siblings."""
    initialise = "Initialise it, or load the checkpoint again."
    if not math.isfinite(size) and not torch.isfinite(p).all():
        return "has NaN or infinite entries", initialise
    if size > _HUGE:
        return f"is huge, with a root mean square of {size:.2g}", initialise
    if 0 < size < _TINY:
        return f"is tiny, with a root mean square of {size:.2g}", initialise
    if not linear_map or p.numel() == 1:
        return None
    if size == 0:
        advice = "Right for the last layer of a branch or a head that is to start as 0."
        return "is all zero", f"{advice} Otherwise initialise it."
    first = p[(0,) * p.ndim]
    if first == p[(-1,) * p.ndim] and bool((p == first).all()):
        return f"is constant at {float(first):.4g}", "Draw it at random to break symmetry."
    return None


def _off_scale(named: Mapping[str, Tensor], sizes: Mapping[str, float]) -> list[ParameterFinding]:
    """Return the parameters whose size is far from the median of at least three siblings."""
    families: dict[tuple[str, torch.Size], dict[str, float]] = defaultdict(dict)
    for name, size in sizes.items():
        p = named[name]
        if p.ndim >= 2 and math.isfinite(size):
            families[re.sub(r"\d+", "*", name), p.shape][name] = size
    found = []
    for family in (f for f in families.values() if len(f) >= 3):
        median = statistics.median(family.values())
        for name, size in family.items():
            if median > 0 and size > 0 and abs(math.log(size / median)) > math.log(_OFF):
                found.append(_sibling(name, size / median, len(family) - 1))
    return found


def _sibling(name: str, ratio: float, others: int) -> ParameterFinding:
    much = f"{ratio:.3g} times" if ratio >= 1 else f"1/{1 / ratio:.3g} of"
    return ParameterFinding(
        name,
        f"is off scale: {much} the median size of its {others} siblings",
        "Check how it is initialised.",
    )
