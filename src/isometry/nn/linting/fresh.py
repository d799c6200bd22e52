"""Is a weight still a fresh draw? Its largest singular value and its norms say so.

A matrix of independent entries of variance s^2 has no singular value beyond the Marchenko-Pastur
edge s (sqrt(rows) + sqrt(columns)) but by the Tracy-Widom fluctuations, and the squared norms of
its rows and columns scatter by sqrt((kurtosis - 1) / entries). Training moves both.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from isometry.nn.linting.entries import INITIALISE
from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.held import Held
from isometry.nn.linting.statistics import Summary
from isometry.nn.roles.parts import READERS, Part, layer_of

_ENOUGH = 1024
_SIGMAS = 5.0
"""Fluctuations within which a statistic is that of a fresh draw."""
_TOGETHER = 4.0
"""The same of the norms of many maps together."""
_STEPS = 12


def fresh(evidence: Evidence) -> Iterator[Finding]:
    """Find maps of a trained model that no test tells from a fresh draw."""
    if not evidence.trained:
        return
    tested = [(part, s) for part in evidence.maps if (s := evidence.summaries.get(part.name))]
    tested = [(p, s) for p, s in tested if s.finite and s.size >= _ENOUGH and s.std > 0]
    new = {
        part.name: scatter(_unit(evidence.entries(part), summary), summary)
        for part, summary in tested
        if is_fresh(evidence.entries(part), summary)
    }
    sure, unsure = _together([part for part, _ in tested], new)
    for part in sure + unsure:
        summary = evidence.summaries[part.name]
        certain = part in sure
        yield Finding(
            part.name, "fresh", "error" if certain else "warning",
            f"It is {'a fresh draw' if certain else 'not told from a fresh draw by any test'}: its "
            f"entries are {summary.shape_of_entries} with a standard deviation of "
            f"{summary.std:.3g}, its largest singular value and the norms of its rows and columns "
            "are those of independent entries.",
            "Its key was probably missing in the checkpoint: compare the names. " + INITIALISE
            if certain else "It is hardly trained, or its key was missing in the checkpoint.",
            summary.std,
        )  # fmt: skip


def _together(
    tested: list[Part], new: Mapping[str, Sequence[float]]
) -> tuple[list[Part], list[Part]]:
    """Return what is surely fresh, and what only looks so: one small map proves little.

    Sure is a whole model, a whole layer, or a kind in all layers while every other kind of its role
    has moved. Their norms are tested once more together: where all lean to one side, that is
    training.
    """
    groups: dict[tuple, list[Part]] = defaultdict(list)
    for part in tested:
        for key in _keys(part):
            groups[key].append(part)
    whole = {
        key
        for key, parts in groups.items()
        if len(parts) >= 3
        and all(p.name in new for p in parts)
        and _lean([new[p.name] for p in parts]) < _TOGETHER
    }
    everything = len([p for p in tested if p.name in new]) > 0.9 * len(tested)
    kinds = {key: _side(groups[key][0]) for key in whole if key[0] == "kind"}
    alone = {key for key, side in kinds.items() if sum(s == side for s in kinds.values()) == 1}
    certain = {key for key in whole if key[0] == "layer"} | alone
    fresh_ones = [p for p in tested if p.name in new]
    sure = [p for p in fresh_ones if everything or certain & set(_keys(p))]
    return sure, [p for p in fresh_ones if p not in sure and whole & set(_keys(p))]


def _side(part: Part) -> str:
    return "reader" if part.role in READERS else part.role


def _keys(part: Part) -> list[tuple]:
    layer = layer_of(part.parameter)
    own = [("kind", part.kind, part.span)]
    return own if layer is None else [*own, ("layer", part.stack, layer)]


def _unit(entries: Held, summary: Summary) -> Held:
    """Return entries of unit variance."""
    return entries.having(entries.local.float() / summary.std)


def is_fresh(entries: Held, summary: Summary) -> bool:
    """Return whether no test tells a matrix from independent draws of one distribution."""
    if summary.shape_of_entries not in ("normal", "truncated", "uniform"):
        return False
    if abs(summary.mean) > _SIGMAS * summary.std / math.sqrt(summary.size):
        return False
    matrix = _unit(entries, summary)
    return _norms_are(matrix, summary) and largest_excess(matrix) < _SIGMAS


def _lean(scatters: Sequence[Sequence[float]]) -> float:
    """Return how many standard errors all of them together are above 0."""
    flat = [z for zs in scatters for z in zs]
    return sum(flat) / math.sqrt(len(flat)) if flat else 0.0


def scatter(matrix: Held, summary: Summary) -> list[float]:
    """Return by how many standard errors the squared norms of rows, and of columns, are too uneven.

    Args:
        matrix: Entries of unit variance.
        summary: The numbers of the entries.
    """
    found = []
    for means, count in _mean_squares(matrix):
        if len(means) >= 16 and count >= 8:
            uneven = float(means.var()) * count / max(summary.kurtosis - 1, 0.5)
            found.append((uneven - 1) / math.sqrt((2 + 12 / count) / len(means)))
    return found


def _mean_squares(matrix: Held) -> list[tuple[Tensor, int]]:
    """Return the mean squares of all columns and of all rows, and of how many entries each is."""
    squares = matrix.having(matrix.local.square())
    down, across = matrix.shape
    return [
        (squares.transposed.by_row(squares.local.sum(0)) / down, down),
        (squares.by_row(squares.local.sum(1)) / across, across),
    ]


def _norms_are(matrix: Held, summary: Summary) -> bool:
    """Return whether the squared norms of rows and of columns scatter as those of a draw."""
    if any(abs(z) > _SIGMAS for z in scatter(matrix, summary)):
        return False
    for means, count in _mean_squares(matrix):
        if len(means) < 16 or count < 8:
            continue
        spread = math.sqrt(max(summary.kurtosis - 1, 0.5) / count)
        if float((means - means.mean()).abs().max()) / spread > 3 + math.sqrt(
            2 * math.log(len(means))
        ):
            return False
    return True


def largest_excess(matrix: Held) -> float:
    """Return how many fluctuations the largest singular value of unit entries is past its edge.

    The edge of s^2 is (sqrt(m) + sqrt(n))^2, the fluctuation
    (sqrt(m) + sqrt(n)) (1/sqrt(m) + 1/sqrt(n))^(1/3).

    References:
        [johnstone2001] Annals of Statistics 29(2), theorem 1.1.
    """
    m, n = matrix.shape
    edge = math.sqrt(m) + math.sqrt(n)
    fluctuation = edge * (1 / math.sqrt(m) + 1 / math.sqrt(n)) ** (1 / 3)
    own = matrix.local
    v = torch.cos(torch.arange(n, dtype=own.dtype, device=own.device) ** 1.5)
    size = 0.0
    for _ in range(_STEPS):
        u = matrix.times(v / v.norm())
        v = matrix.transposed.times(u)
        size = float(v.norm())
    return (size - edge**2) / fluctuation
