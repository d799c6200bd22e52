"""Rules about one tensor at a time: its values, its zeros, its symmetry, its precision."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.held import Held
from isometry.nn.linting.statistics import Summary, rank_one_share
from isometry.nn.roles.parts import MAPS, Part

_HUGE = 1e3
"""Root mean square above which no initialisation in use ends."""
_TINY = 1e-12
"""Root mean square below which non-zero entries are more likely left-over memory."""
_FEW = 256
"""Distinct values of a sample of thousands: those of an 8-bit type."""
_ENOUGH = 4096
_ROWS = 4096
"""Rows that the rank is told from."""
_RANK_ONE = 0.999
"""Share of the squared norm in one dyad from which a map has rank one."""
INITIALISE = "Initialise it, or load the checkpoint again."


def values(evidence: Evidence) -> Iterator[Finding]:
    """Find entries that are not finite, and sizes that no initialisation has."""
    for part in evidence.parts:
        summary = evidence.summaries.get(part.name)
        if part.role == "buffer" or summary is None:
            continue
        found = _value(summary)
        if found is not None:
            message, number = found
            yield Finding(part.name, "value", "error", message, INITIALISE, number)


def _value(summary: Summary) -> tuple[str, float] | None:
    if not summary.finite:
        return "It has NaN or infinite entries.", math.nan
    if summary.rms > _HUGE:
        return f"It is huge, with a root mean square of {summary.rms:.2g}.", summary.rms
    if 0 < summary.rms < _TINY:
        return f"It is tiny, with a root mean square of {summary.rms:.2g}.", summary.rms
    return None


def zeros(evidence: Evidence) -> Iterator[Finding]:
    """Find maps that are all 0: meant for a last layer, dead where nothing moves them."""
    siblings: dict[tuple, list[Part]] = defaultdict(list)
    for part in evidence.maps:
        siblings[part.kind, part.span, part.role, part.shape].append(part)
    off = [p for p in evidence.maps if _is_zero(evidence, p)]
    yield from _alone(evidence, siblings.values())
    dead = evidence.followed.without_gradient([p.parameter for p in off]) if off else set()
    for part in off:
        same = siblings[part.kind, part.span, part.role, part.shape]
        live = sum(not _is_zero(evidence, other) for other in same)
        if part.parameter in dead:
            yield Finding(
                part.name, "zero", "warning",
                "It is all zero and no gradient reaches it at `x`: another factor of 0 stands "
                "before or behind it, so that neither is ever trained.",
                "Draw one of the two at random.", 0.0,
            )  # fmt: skip
        elif live > 0 and live >= len(same) - live:
            yield Finding(
                part.name, "zero", "warning",
                f"It is all zero, while {live} of its {len(same) - 1} siblings are not.",
                INITIALISE, 0.0,
            )  # fmt: skip
        else:
            yield Finding(
                part.name, "zero", "note", "It is all zero.",
                "Right for the last layer of a branch, a gate or a head that is to start as 0; "
                "otherwise initialise it.", 0.0,
            )  # fmt: skip


def _alone(evidence: Evidence, siblings: Iterable[list[Part]]) -> Iterator[Finding]:
    """Find maps that are drawn while most of the same maps start at 0."""
    for same in siblings:
        drawn = [part for part in same if not _is_zero(evidence, part)]
        if len(same) >= 3 and 0 < len(drawn) <= (len(same) - 1) // 2:
            for part in (part for part in drawn if part.name in evidence.summaries):
                yield Finding(
                    part.name, "zero", "warning",
                    f"It is not zero, while {len(same) - len(drawn)} of its siblings are.",
                    "Set it to 0 as they are, or draw them as it is.",
                    evidence.summaries[part.name].rms,
                )  # fmt: skip


def _is_zero(evidence: Evidence, part: Part) -> bool:
    summary = evidence.summaries.get(part.name)
    return summary is not None and summary.finite and summary.rms == 0 and summary.size > 1


def symmetry(evidence: Evidence) -> Iterator[Finding]:
    """Find maps whose entries are equal, or that are one column times one row."""
    for part in evidence.maps:
        summary = evidence.summaries.get(part.name)
        if summary is None or not summary.finite or summary.rms == 0 or summary.size == 1:
            continue
        if summary.constant:
            if part.role == "depthwise":
                continue  # a mean over the window
            yield Finding(
                part.name, "symmetry", "warning", f"It is constant at {summary.mean:.4g}.",
                "Draw it at random to break symmetry.", summary.mean,
            )  # fmt: skip
            continue
        if part.role == "depthwise" or evidence.trained:
            continue
        entries = evidence.entries(part)
        experts = entries.shape[0] // part.shape[0] if part.bank else 1
        for expert, share in dependent(entries, experts).items():
            name, whose = (f"{part.name}[{expert}]", f"Expert {expert}") if part.bank else (
                part.name, "It")  # fmt: skip
            yield Finding(
                name, "symmetry", "warning",
                f"{whose} has rank one: one column times one row hold {share:.2%} of its square.",
                "Draw its entries independently.", share,
            )  # fmt: skip


def dependent(stack: Held, number: int) -> dict[int, float]:
    """Return which of so many matrices above one another have rank one: {place: its share}."""
    rows = stack.shape[0] // number
    if min(rows, stack.shape[1]) < 4:
        return {}
    found = {}
    for place in _may_be_low(stack, rows).tolist():
        one = stack.part(place * rows, place * rows + min(rows, _ROWS), stack.shape[0])
        share = rank_one_share(one)
        if share > _RANK_ONE:
            found[place] = share
    return found


def _may_be_low(stack: Held, rows: int) -> Tensor:
    """Return the matrices of so many rows whose first rows are multiples, so worth the whole."""
    firsts = range(0, stack.shape[0], rows)
    few = stack.take_rows([first + i for first in firsts for i in range(3)]).float()
    few = few.reshape(-1, 3, stack.shape[1])
    norms = torch.linalg.vector_norm(few, dim=2, keepdim=True)
    unit = few / norms
    alike = ((unit @ unit.mT).abs() > 0.99).all(2).all(1)
    return (alike | (norms == 0).any(1).flatten()).nonzero().flatten()


def precision(evidence: Evidence) -> Iterator[Finding]:
    """Find maps whose values are few: what a cast to a small type left of them."""
    rounded: list[str] = []
    for part in evidence.maps:
        summary = evidence.summaries.get(part.name)
        if summary is None or not summary.finite or summary.sampled < _ENOUGH or summary.rms == 0:
            continue
        tensor = evidence.tensor(part)
        if 3 <= summary.levels <= _FEW and tensor.element_size() > 1:
            yield Finding(
                part.name, "dtype", "warning",
                f"Its entries take only {summary.levels} distinct sizes among {summary.sampled}, "
                f"though its type is {str(tensor.dtype).removeprefix('torch.')}: a cast or a "
                "quantiser rounded them.",
                "Draw in float32 and cast once.", float(summary.levels),
            )  # fmt: skip
        elif tensor.dtype == torch.float32 and _through_bfloat16(evidence.entries(part)):
            rounded.append(part.name)
    if rounded:
        yield Finding(
            rounded[0], "dtype", "note",
            f"Its float32 values went through bfloat16, as those of {len(rounded) - 1} other maps.",
            "Fine for a checkpoint saved so; otherwise draw in float32.", float(len(rounded)),
        )  # fmt: skip


def _through_bfloat16(entries: Held) -> bool:
    count = min(_ENOUGH, entries.size)
    sample = entries.take(torch.arange(count, device=entries.local.device))
    return bool((sample != 0).any()) and torch.equal(sample, sample.bfloat16().float())


def is_drawn(part: Part) -> bool:
    """Return whether entries are expected to be random."""
    return part.role in MAPS or part.role in ("embedding", "position")
