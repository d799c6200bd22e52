"""Rules about what is computed and not drawn: what `to_empty`, a cast or a missed layer left."""

import math
from collections import defaultdict
from collections.abc import Iterator

import torch

from isometry.nn.linting.evidence import Evidence, has_values
from isometry.nn.linting.finding import Finding, Severity
from isometry.nn.linting.held import Held
from isometry.nn.linting.statistics import extremes
from isometry.nn.roles.parts import Part

_HUGE = 1e30
_MULTIPLIES = {"mul", "mul_", "bmm", "mm", "matmul", "mv", "dot", "addmm", "baddbmm"}
_COMPUTED = ("scale", "recurrence", "other")
"""Roles of parameters that a rule may compute, as the rates of decay of a state space model."""
_REMEDY = (
    "`to_empty` leaves what was in memory, and initialisers of parameters pass buffers by: fill "
    "the buffer again."
)


def buffers(evidence: Evidence) -> Iterator[Finding]:
    """Find buffers with values that nobody computed."""
    found: set[str] = set()
    held = [p for p in evidence.parts if p.role == "buffer" and has_values(evidence.tensor(p))]
    for part in held:
        said = _alone(evidence, part)
        if said is not None:
            message, number, severity = said
            found.add(part.parameter)
            yield Finding(part.name, "buffer", severity, message, _REMEDY, number)
    yield from _unlike(evidence, [part for part in held if part.parameter not in found], _REMEDY)


def structures(evidence: Evidence) -> Iterator[Finding]:
    """Find parameters that are no maps and are computed, unlike those of most other layers."""
    if evidence.trained:
        return
    known = [p for p in evidence.parts if p.role in _COMPUTED and has_values(evidence.tensor(p))]
    known = [p for p in known if evidence.summaries[p.name].finite]
    yield from _unlike(evidence, known, "Set it as they are set.")


def _alone(evidence: Evidence, part: Part) -> tuple[str, float, Severity] | None:
    b = evidence.matrix(part).wide
    low, high, known = extremes(b)
    if not known:
        return "It holds NaN.", math.nan, "error"
    if high > _HUGE:
        return f"It holds values up to {high:.3g}.", high, "error"
    if low < -_HUGE and not _is_mask(b):
        return f"It holds values down to {low:.3g}.", low, "error"
    largest = max(abs(low), abs(high))
    if 0 < largest < float(torch.finfo(torch.float32).tiny):
        return f"All its values are denormal, {largest:.3g} at most.", largest, "error"
    if largest == 0 and _multiplies(evidence, part):
        return "It is all zero, and the model multiplies by it.", 0.0, "warning"
    return None


def _is_mask(b: Held) -> bool:
    """Return whether the very low entries are what masks put there: minus infinity or the least."""
    low = b.local[b.local < -_HUGE]
    least = [float(torch.finfo(t).min) for t in (torch.float32, torch.bfloat16, torch.float64)]
    return b.every(all(float(v) == -math.inf or float(v) in least for v in torch.unique(low)[:8]))


def _multiplies(evidence: Evidence, part: Part) -> bool:
    flow = evidence.followed.flow
    if flow is None or part.parameter in flow.written:
        return False
    return bool(flow.constants.get(part.parameter, set()) & _MULTIPLIES)


def _unlike(evidence: Evidence, parts: list[Part], remedy: str) -> Iterator[Finding]:
    """Find a tensor that differs from the same one in the other layers, which are all equal."""
    groups: dict[tuple, list[Part]] = defaultdict(list)
    for part in parts:
        spread = getattr(evidence.tensor(part), "placements", None)
        groups[part.kind, part.shape, evidence.tensor(part).dtype, spread].append(part)
    for same in (group for group in groups.values() if len(group) >= 3):
        values = [evidence.matrix(part) for part in same]
        usual = next(
            (v for v in values if 2 * sum(v.is_equal(w) for w in values) > len(values)), None
        )
        if usual is None:
            continue
        for part, value in zip(same, values, strict=True):
            if not value.is_equal(usual):
                apart = value.having(value.local - usual.local)
                gap = max(map(abs, extremes(apart)[:2]))
                yield Finding(
                    part.name, "buffer" if part.role == "buffer" else "value", "warning",
                    f"It differs by up to {gap:.3g} from the same one of the other layers, most of "
                    "which are equal.",
                    remedy, gap,
                )  # fmt: skip
