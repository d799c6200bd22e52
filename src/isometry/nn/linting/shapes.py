"""Rules about the distribution that entries were drawn from."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.fits import tensors
from isometry.nn.linting.kinds import Kind

_IN_BLOCKS = ("reader", "gate", "inner", "writer")
_ENOUGH = 1000
"""Entries from which a distribution is called by its name."""


def distributions(evidence: Evidence) -> Iterator[Finding]:
    """Find maps that were left at torch's default, and truncations that only some have."""
    if evidence.trained:
        return
    kinds = [k for k in evidence.kinds if k.part.role in _IN_BLOCKS]
    shapes = {kind.name: _shape(evidence, kind) for kind in kinds}
    known = [kind for kind in kinds if shapes[kind.name] in ("normal", "truncated", "uniform")]
    drawn = [kind for kind in known if shapes[kind.name] != "uniform"]
    left = [
        kind for kind in known if shapes[kind.name] == "uniform" and _is_default(evidence, kind)
    ]
    others = len(tensors(drawn))
    if left and others >= 3 and len(tensors(left)) <= others / 3:
        for kind in left:
            yield from _left(kind, evidence.default_fan(kind.part), others)
    else:
        yield from _mixed(evidence, kinds)
    yield from _truncated(known, shapes)


def _left(kind: Kind, fan_in: int, others: int) -> Iterator[Finding]:
    for part, std in zip(kind.parts, kind.stds, strict=True):
        yield Finding(
            part.name, "distribution", "warning",
            f"It is uniform with a standard deviation of {std:.3g}, torch's default "
            f"1/sqrt(3 fan_in) = {(3 * fan_in) ** -0.5:.3g}, while {others} other kinds of maps in "
            "the blocks are normal: the model's own initialisation has not reached it.",
            "Check what the initialisation matches on: a name, a class, a wrapper.", std,
        )  # fmt: skip


def _mixed(evidence: Evidence, kinds: list[Kind]) -> Iterator[Finding]:
    """Find maps of one name, of which some are at torch's default and others normal.

    Layers of one name are drawn by one line of code, whatever their shapes and stages: however
    many it has not reached, the two kinds of entries tell them apart.
    """
    same: dict[str, list[Kind]] = defaultdict(list)
    for kind in kinds:
        same[_staged(kind.part.parameter)].append(kind)
    for group in same.values():
        singles = [kind.only([i]) for kind in group for i in range(len(kind.parts))]
        shapes = [_shape(evidence, single) for single in singles]
        drawn = [s for s, shape in zip(singles, shapes, strict=True) if shape == "normal"]
        left = [
            single
            for single, shape in zip(singles, shapes, strict=True)
            if shape == "uniform" and _is_default(evidence, single)
        ]
        if drawn:
            for single in left:
                yield _beside(single, evidence.default_fan(single.part), drawn[0])


def _staged(parameter: str) -> str:
    """Return a name with a star for every number of a stage or a layer: layer*.*.conv1.weight."""
    *around, module, own = ["", "", *parameter.split(".")]
    return ".".join([re.sub(r"\d+", "*", word) for word in around] + [module, own])


def _beside(single: Kind, fan_in: int, drawn: Kind) -> Finding:
    return Finding(
        single.part.name, "distribution", "warning",
        f"It is uniform with a standard deviation of {single.std:.3g}, torch's default "
        f"1/sqrt(3 fan_in) = {(3 * fan_in) ** -0.5:.3g}, while the same map is normal in "
        f"`{drawn.part.name}`: the model's own initialisation has not reached it.",
        "Check what the initialisation matches on: a name, a class, a wrapper.", single.std,
    )  # fmt: skip


def _truncated(kinds: list[Kind], shapes: dict[str, str]) -> Iterator[Finding]:
    """Note a role of which some maps are cut off at a few standard deviations and others not."""
    roles: dict[str, list[Kind]] = defaultdict(list)
    for kind in kinds:
        roles[kind.part.role].append(kind)
    for same in roles.values():
        counted = Counter(shapes[kind.name] for kind in same)
        if counted["truncated"] > counted["normal"] > 0:
            for kind in (kind for kind in same if shapes[kind.name] == "normal"):
                yield Finding(
                    kind.part.name, "distribution", "note",
                    "Its entries are not cut off, while others of its role are.",
                    "`trunc_normal_` cuts at absolute bounds, -2 and 2 by default: at a small std "
                    "that is no cut. Pass a = -2 std, b = 2 std.", None,
                )  # fmt: skip


def _shape(evidence: Evidence, kind: Kind) -> str:
    shapes = Counter(
        summary.shape_of_entries
        for part in kind.parts
        if (summary := evidence.summaries[part.name]).size >= _ENOUGH
    )
    return shapes.most_common(1)[0][0] if shapes else "small"


def _is_default(evidence: Evidence, kind: Kind) -> bool:
    expected = (3 * evidence.default_fan(kind.part)) ** -0.5
    return abs(math.log(kind.std / expected)) < max(0.04, 6 * kind.standard_error)
