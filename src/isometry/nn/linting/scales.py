"""Rules about one kind of map in all layers: a layer unlike the others, a layer-wise profile."""

import math
import statistics
from collections.abc import Iterator
from itertools import pairwise

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.factors import named_factor
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.halves import halves
from isometry.nn.linting.kinds import Kind

_OFF = 1.1
"""Ratio to the siblings' median from which a layer is unlike them."""
FAR = 10.0
"""Ratio from which a misfit is an error."""
_SCALED = 2.0
"""The same for orthogonal maps, which rules such as LSUV scale by what they do to data."""


def layers(evidence: Evidence) -> Iterator[Finding]:
    """Find maps that are larger or smaller than the same map in the other layers."""
    if evidence.trained:
        return
    for kind in evidence.kinds:
        count = len(kind.stds)
        if count < 2 or (count > 2 and (kind.slope is not None or _is_gradual(kind))):
            continue
        off = _SCALED if evidence.is_orthogonal(kind.part) else _OFF
        yield from _outliers(kind, off) if count > 2 else ()
        yield from halves(evidence, kind, off, FAR)


def _outliers(kind: Kind, off: float) -> Iterator[Finding]:
    ratios = kind.ratios
    usual = statistics.median(abs(r) for r in ratios)
    allowed = max(math.log(off), 6 * kind.own_error, 5 * usual)
    odd = [i for i, ratio in enumerate(ratios) if abs(ratio) > allowed]
    if not 0 < len(odd) <= (len(ratios) - 1) // 2:
        return
    for i in odd:
        ratio = math.exp(ratios[i])
        known = named_factor(ratio)
        yield Finding(
            kind.parts[i].name, "role-scale", "warning" if 1 / FAR < ratio < FAR else "error",
            f"Its standard deviation of {kind.stds[i]:.3g} is {ratio:.3g} times the median of its "
            f"{len(ratios) - 1} siblings{known}.",
            "Draw it as they are drawn.", ratio,
        )  # fmt: skip


def _is_gradual(kind: Kind) -> bool:
    """Return whether the sizes rise, or fall, from most layers to the next."""
    steps = [b - a for a, b in pairwise(kind.ratios)]
    slack = 3 * kind.own_error
    falls, rises = sum(s < -slack for s in steps), sum(s > slack for s in steps)
    return max(falls, rises) > len(steps) / 2 and min(falls, rises) == 0
