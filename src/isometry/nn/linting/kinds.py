"""Parameters that repeat from layer to layer, taken together: one standard deviation a kind."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isometry.nn.linting.statistics import Summary
from isometry.nn.roles.parts import Part, layer_of


@dataclass(frozen=True)
class Kind:
    """Parts of one name up to numbers, one role and one shape.

    Attributes:
        parts: In the model's order.
        stds: Standard deviation of each.
        std: Their root mean square.
        standard_error: Of log(std), by the number of entries.
        spread: Largest difference of log(std) between two of them.
    """

    parts: tuple[Part, ...]
    stds: tuple[float, ...]
    std: float
    standard_error: float
    own_error: float
    """Standard error of log(std) of one of them."""

    @property
    def part(self) -> Part:
        """The first of them."""
        return self.parts[0]

    @property
    def name(self) -> str:
        """The name with stars, and the rows of a part."""
        rows = self.part.span
        return self.part.kind + ("" if rows is None else f"[{rows[0]}:{rows[1]}]")

    @property
    def layers(self) -> tuple[int, ...]:
        """The layer of each; its place where the name has no number."""
        return tuple(
            place if (n := layer_of(p.parameter)) is None else n
            for place, p in enumerate(self.parts)
        )

    def only(self, places: Sequence[int]) -> "Kind":
        """Return the kind with some of its members."""
        parts = tuple(self.parts[i] for i in places)
        stds = tuple(self.stds[i] for i in places)
        std = math.sqrt(statistics.fmean(s**2 for s in stds))
        return Kind(parts, stds, std, self.own_error / math.sqrt(len(parts)), self.own_error)

    @property
    def ratios(self) -> list[float]:
        """Log of each one's standard deviation over the median."""
        median = statistics.median(self.stds)
        return [math.log(s / median) for s in self.stds]

    @property
    def slope(self) -> float | None:
        """The power of the layer's number that the standard deviations follow; None if none."""
        if len(self.stds) < 3 or len(set(self.layers)) < 3:
            return None
        logs = [math.log(n + 1) for n in self.layers]
        ratios = self.ratios
        middle, level = statistics.fmean(logs), statistics.fmean(ratios)
        over = math.fsum((a - middle) ** 2 for a in logs)
        slope = math.fsum((a - middle) * (r - level) for a, r in zip(logs, ratios, strict=True))
        slope /= over
        rest = [r - level - slope * (a - middle) for a, r in zip(logs, ratios, strict=True)]
        close = all(abs(r) < max(6 * self.own_error, math.log(1.05)) for r in rest)
        return slope if close and abs(slope) > 0.2 else None


def kinds_of(parts: Sequence[Part], summaries: Mapping[str, Summary]) -> list[Kind]:
    """Return the kinds of what has a standard deviation above 0, in the model's order."""
    groups: dict[tuple, list[Part]] = defaultdict(list)
    for part in parts:
        summary = summaries.get(part.name)
        if part.computed or summary is None or not summary.finite:
            continue
        if summary.std > 0:
            groups[part.kind, part.span, part.role, part.shape].append(part)
    return [_kind(group, summaries) for group in groups.values()]


def _kind(group: list[Part], summaries: Mapping[str, Summary]) -> Kind:
    own = [summaries[part.name] for part in group]
    stds = tuple(s.std for s in own)
    total = sum(s.size for s in own)
    std = math.sqrt(math.fsum(s.std**2 * s.size for s in own) / total)
    error = max(s.standard_error for s in own)
    return Kind(tuple(group), stds, std, error / math.sqrt(len(own)), error)
