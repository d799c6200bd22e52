r"""Which factor next? How the log of a block's c answers to that of its factor g.

Scaling a branch by g multiplies its c by g^2. Where an activation stands behind the linear map
there is more: with s the size of the block's input the activation sees g s, and near a solution

    d log c = 2 d log g + a d log(g s)                                      (derived here)

The a comes from the last two measurements of the block or of the nearest one before it.
"""

import math
from dataclasses import dataclass

_LEAST = 1e-2
"""Change of log g, and of log(g s), below which an answer shows nothing."""
_BOUNDS = (-1.5, 2.0)


@dataclass(frozen=True)
class _Answer:
    log_c: float
    log_size: float
    log_factor: float


class Search:
    """What was measured and changed so far, group by group."""

    def __init__(self) -> None:
        self._last: dict[int, _Answer] = {}
        self._a: dict[int, float] = {}

    def see(self, group: int, c: float, size: float, factor: float) -> None:
        """Take in what a group has at a factor, at an input of some size; NaN is unknown."""
        new, last = _Answer(*map(math.log, (c, size, factor))), self._last.get(group)
        self._last[group] = new
        if last is None:
            return
        step = new.log_factor - last.log_factor
        seen = step + (new.log_size - last.log_size if group else 0.0)
        if abs(step) > _LEAST and abs(seen) > _LEAST:
            least, most = _BOUNDS
            self._a[group] = min(max((new.log_c - last.log_c - 2 * step) / seen, least), most)

    def factor(self, group: int, formula: float) -> float:
        """Return what multiplies a group's branches; ``formula`` would at a = 0."""
        known = [self._a[p] for p in range(group, -1, -1) if p in self._a]
        return formula ** (2 / (2 + known[0])) if known else formula
