r"""What a fit has measured so far, and what follows from it: the next factor, and whether to stop.

Scaling a branch by g multiplies its c by g^2. Where an activation stands behind the linear map
there is more: with s the size of the block's input the activation sees g s, and near a solution

    d log c = 2 d log g + a d log(g s)                                      (derived here)

The a comes from the last two measurements of the block or of the nearest one before it. Blocks
that share a parameter form one group, and a group has one factor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_LEAST = 1e-2
"""Change of log g, and of log(g s), below which an answer shows nothing."""
_BOUNDS = (-1.5, 2.0)


@dataclass(frozen=True)
class Seen:
    """One group in one pass.

    Attributes:
        sweep: Number of the pass, from 1 on.
        group: Place of the group among the groups, from the input on.
        c: What its blocks have together.
        target: What they are to have together.
        size: Norm of the last block's input; NaN where unknown.
        factor: Factor of its branches when it was measured.
        step: What multiplies that factor from here on; 1 where nothing was corrected.
    """

    sweep: int
    group: int
    c: float
    target: float
    size: float
    factor: float
    step: float = 1.0

    @property
    def following(self) -> float:
        """Factor of its branches from here on."""
        return self.factor * self.step

    @property
    def distance(self) -> float:
        """How far the group is from its target, relative to it."""
        return abs(self.c / self.target - 1)


@dataclass(frozen=True)
class History:
    """What was seen of every group, pass by pass."""

    groups: tuple[tuple[Seen, ...], ...]

    def and_then(self, seen: Seen) -> "History":
        """Return the history with one more measurement."""
        own = (*self.groups[seen.group], seen)
        return History((*self.groups[: seen.group], own, *self.groups[seen.group + 1 :]))

    def factor(self, group: int) -> float:
        """Return what the branches of a group are multiplied by, as it stands."""
        return self.groups[group][-1].following if self.groups[group] else 1.0

    def settled(self, sweep: int, rtol: float) -> bool:
        """Return whether a pass met all groups and each within ``rtol`` of its target.

        No pass corrects anything before the first group that is off, so these are measurements
        of the model as it stands.
        """
        return all(
            own and own[-1].sweep == sweep and own[-1].distance <= rtol for own in self.groups
        )

    def correcting(self, sweep: int) -> bool:
        """Return whether a pass has corrected a group already."""
        return any(own and own[-1].sweep == sweep and own[-1].step != 1.0 for own in self.groups)

    def correction(self, group: int, formula: float) -> float:
        """Return what multiplies a group's branches next; ``formula`` would at a = 0."""
        for earlier in range(group, -1, -1):
            a = _exponent([seen for seen in self.groups[earlier] if seen.c > 0])
            if a is not None:
                return formula ** (2 / (2 + a))
        return formula


def _exponent(answers: Sequence[Seen]) -> float | None:
    """Return a from the latest two answers in a row that show it."""
    for last, new in reversed(list(pairwise(answers))):
        step = math.log(new.factor) - math.log(last.factor)
        moved = math.log(new.size) - math.log(last.size) if new.group else 0.0
        if abs(step) > _LEAST and abs(step + moved) > _LEAST:
            least, most = _BOUNDS
            answer = math.log(new.c) - math.log(last.c) - 2 * step
            return min(max(answer / (step + moved), least), most)
    return None
