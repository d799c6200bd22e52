"""Two groups of layers as large as each other, of two sizes: which is right, no count can tell."""

import math
from collections import defaultdict
from collections.abc import Sequence

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.factors import depth_factors, named_factor
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.kinds import Kind
from isometry.nn.roles.parts import Part, layer_of

_SEVERAL = 3
"""How many times the spread of either group lies between them."""
_BY_NUMBER = -0.5
"""Power of the layer's number + 1 that two layers may follow: torchtitan's rule for depth."""
_NAMED = 4
"""How many layers of a half are named."""
_LARGE = 2.0
"""Factor between two layers of a map alone that needs no name."""


def halves(evidence: Evidence, kind: Kind, off: float, far: float) -> list[Finding]:
    """Find a map of which half of the layers are larger than the others, and equal in themselves.

    Args:
        evidence: The model's.
        kind: The same map of several layers.
        off: Ratio of the two halves from which they differ.
        far: Ratio from which that is an error.
    """
    parted = _parted(kind, off)
    if parted is None or _by_number(kind) or _unlike(evidence, kind, *parted):
        return []
    small, large = (kind.only(places) for places in parted)
    ratio = small.std / large.std
    layers = len(set(kind.layers))
    factors = depth_factors(layers, 2 * layers) if kind.part.role == "writer" else {}
    named = named_factor(ratio, factors)
    message = (
        f"Half of this map's layers have {ratio:.3g} times the standard deviation of the others"
        f"{named}: {small.std:.3g} in {_names(small)}, and {large.std:.3g} in {_names(large)}."
    )
    remedy = "Draw all of them by one rule; which half is meant, `recipe=` can tell."
    if len(kind.stds) == 2 and not _is_sure(evidence, kind, off, ratio, named):
        return []
    by_depth = any(f"is {name} " in named for name in factors)
    return [
        Finding(
            kind.part.name, "depth" if by_depth else "role-scale",
            "warning" if ratio > 1 / far else "error", message, remedy, ratio,
        )
    ]  # fmt: skip


def _parted(kind: Kind, off: float) -> tuple[Sequence[int], Sequence[int]] | None:
    """Return the places of the smaller and of the larger half, where a clear gap parts them."""
    count = len(kind.stds)
    if count % 2 or count == 0:
        return None
    order = sorted(range(count), key=lambda i: kind.stds[i])
    logs = [math.log(kind.stds[i]) for i in order]
    half = count // 2
    gap = logs[half] - logs[half - 1]
    spread = max(logs[half - 1] - logs[0], logs[-1] - logs[half])
    chance = 6 * math.sqrt(2) * kind.own_error
    if gap < max(math.log(off), chance, _SEVERAL * spread):
        return None
    return sorted(order[:half]), sorted(order[half:])


def _by_number(kind: Kind) -> bool:
    """Return whether two maps, of which no power can be fitted, follow the one that rules use."""
    if len(kind.stds) != 2 or kind.layers[0] == kind.layers[1]:
        return False
    steps = math.log((kind.layers[1] + 1) / (kind.layers[0] + 1))
    apart = math.log(kind.stds[1] / kind.stds[0]) - _BY_NUMBER * steps
    return abs(apart) < max(math.log(1.05), 6 * math.sqrt(2) * kind.own_error)


def _is_sure(evidence: Evidence, kind: Kind, off: float, ratio: float, named: str) -> bool:
    """Return whether two layers differ by a rule that missed one, not as data scale each.

    Rules that look at data give every map a factor of its own; one that missed a layer leaves the
    same in all that it speaks of, and of a map alone a factor that has a name or is large.
    """
    pairs = [k for k in evidence.kinds if len(k.stds) == 2 and k.part.stack == kind.part.stack]
    steps = [math.log(k.stds[1] / k.stds[0]) for k in pairs if _parted(k, off) is not None]
    if len(steps) > 1:
        return max(steps) - min(steps) < max(math.log(1.1), 6 * math.sqrt(2) * kind.own_error)
    return bool(named) or ratio < 1 / _LARGE


def _unlike(evidence: Evidence, kind: Kind, one: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether the layers of the halves are built differently, so that each may be right."""
    built: dict[int | None, set[tuple]] = defaultdict(set)
    for part in evidence.parts:
        if part.stack == kind.part.stack:
            built[layer_of(part.parameter)].add(_place(part))
    first, second = (
        {frozenset(built[layer_of(kind.parts[i].parameter)]) for i in places}
        for places in (one, other)
    )
    return not first & second


def _place(part: Part) -> tuple:
    return part.kind, part.span, part.role, part.shape, part.multiplier


def _names(kind: Kind) -> str:
    names = [f"`{part.name}`" for part in kind.parts[:_NAMED]]
    more = len(kind.parts) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
