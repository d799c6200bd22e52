"""The plan of an initialisation: what becomes of every block, and the new values behind it."""

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from isometry._result import Drawn, Result, format_table
from isometry.nn.blocks.additions import LeftAddition
from isometry.nn.blocks.spans import SpanningBlock
from isometry.nn.init.changes import Change
from isometry.theory.propagation import ResNetSpec

BRANCH_GAIN: Literal["branch gain"] = "branch gain"
"""What stands for c where a skip is a matrix."""


_UNEVEN = 3.0
"""Ratio of the largest to the smallest factor from which a plan says so."""


@dataclass(frozen=True)
class PlannedBlock(Result):
    """One residual block's row of a plan.

    Attributes:
        name: The block's name.
        c_before: Its part of c as the model is; None where it was not measured.
        c_after: Its part of c under the plan, measured or predicted as ``InitPlan.method`` says.
        target: What was asked for; None for a baseline.
        tensors: Names of the parameters that set it.
        factor: What the weights are multiplied by, after a redraw where there is one.
        why: How the tensors were chosen.
    """

    name: str
    c_before: float | None
    c_after: float
    target: float | None
    tensors: tuple[str, ...]
    factor: float
    why: str

    def rows(self) -> list[dict[str, Any]]:
        """Return the row of the plan's table."""
        return [
            {
                "block": self.name,
                "c now": self.c_before,
                "c after": self.c_after,
                "tensors": ", ".join(self.tensors),
                "factor": self.factor,
                "why": self.why,
            }
        ]


@dataclass(frozen=True)
class CentredBlock(Result):
    """What a plan with ``centre=True`` does about one branch's mean.

    Attributes:
        name: The block's name.
        before: Part of the branch's mean square that is the same for every sample and position.
        after: The same under the plan, measured.
        bias: The parameter that takes the mean; None where none can.
        why: What was done, or what is in the way.
    """

    name: str
    before: float
    after: float
    bias: str | None
    why: str


@dataclass(frozen=True)
class PlannedCondition(Result):
    """The condition number that a plan was asked for, and by which law it has it.

    Attributes:
        asked: Wanted ratio s_max / s_min of the edges of the bulk.
        after: That ratio under the plan, by the law.
        law: ``"product"``, the product law of the blocks' own spectra under the plan, or
            ``"universal"``, the universal law at the plan's c.
        rounds: How many plans, each at a c of its own, were made.
        reason: Why there is no product law.
    """

    asked: float
    after: float
    law: Literal["product", "universal"]
    rounds: int
    reason: str = ""

    def __str__(self) -> str:
        reached = f"condition number {self.after:.4g} (asked: {self.asked:g})"
        if self.law == "product":
            rounds = f"{self.rounds} round{'s' * (self.rounds > 1)}"
            return f"{reached} by the product law of the blocks' own spectra, {rounds}"
        return f"{reached} by the universal law of c; no product law: {self.reason}"


@dataclass(frozen=True, eq=False)
class InitPlan(Result, Drawn):
    """What an initialisation will write; ``print`` it, then :func:`isometry.nn.apply_` it.

    Attributes:
        c: The effective cumulant asked for; None for a baseline.
        method: ``"theory"``, ``"data"`` or the name of a baseline.
        blocks: One row per residual block, from the input on.
        passes: How often all blocks were measured.
        changes: {parameter: new values}; other parameters stay.
        spec: The specification that the project's own networks have afterwards.
        left: Residual additions that are in no block and stay as they are, and why.
        spans: Blocks that contain residual additions of their own, which share one factor.
        centred: With ``centre=True`` what becomes of every branch's mean; empty without.
        condition: The condition number asked for, where blocks were measured for it; else None.
        quantity: What every c in the plan is: ``"c"``, or ``"branch gain"``, ``|X|^2 / |S|^2`` with
            X the branch's part of a block's Jacobian and S that of its skip.
    """

    _also = "c_before", "c_after", "residual", "parameters"

    c: float | None
    method: str
    blocks: tuple[PlannedBlock, ...]
    passes: int
    changes: Mapping[str, Change] = field(repr=False)
    spec: ResNetSpec | None = field(repr=False, default=None)
    left: tuple[LeftAddition, ...] = ()
    spans: tuple[SpanningBlock, ...] = ()
    centred: tuple[CentredBlock, ...] = ()
    condition: PlannedCondition | None = None
    quantity: Literal["c", "branch gain"] = "c"

    @property
    def c_before(self) -> float | None:
        """The model's c as it is; None where it was not measured."""
        parts = [block.c_before for block in self.blocks]
        known = [part for part in parts if part is not None]
        return math.fsum(known) if len(known) == len(parts) else None

    @property
    def c_after(self) -> float:
        """The model's c under the plan."""
        return math.fsum(block.c_after for block in self.blocks)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that change."""
        return tuple(sorted(self.changes))

    @property
    def residual(self) -> float:
        """Largest relative distance of a block's c from what was asked; 0 for a baseline."""
        return max(
            (abs(b.c_after / b.target - 1) for b in self.blocks if b.target is not None),
            default=0.0,
        )

    def _draw(self, room: Any, ax: Any) -> None:
        """Draw every block's c as it is, under the plan, and what was asked for."""
        series = {
            "now": [block.c_before for block in self.blocks],
            "under the plan": [block.c_after for block in self.blocks],
            "asked for": [block.target for block in self.blocks],
        }
        room.plot_points(ax, series, across="residual block", up="its part of c")

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per block: c now, c after, tensors, factor, why."""
        rows = [row for block in self.blocks for row in block.rows()]
        names = {"c now": f"{self.quantity} now", "c after": f"{self.quantity} after"}
        return [{names.get(key, key): value for key, value in row.items()} for row in rows]

    def __str__(self) -> str:
        outside = [f"left out: {addition}" for addition in self.left]
        inside = [f"together: {span}" for span in self.spans]
        condition = [] if self.condition is None else [str(self.condition)]
        kept = [row for row in self.centred if row.bias is None]
        means = [f"{len(kept)} branches keep their mean: {kept[0].why}"] if kept else []
        lines = [self._summary(), *condition, *inside, *outside, *means, *self._uneven()]
        return "\n".join([format_table(self.rows()), "", *lines])

    def _uneven(self) -> list[str]:
        """Say that equal parts of c take unequal factors: what is no part of c grows with them."""
        scaled = [block for block in self.blocks if block.factor > 0]
        if self.method != "data" or not scaled:
            return []
        low, high = (pick(scaled, key=lambda block: block.factor) for pick in (min, max))
        if high.factor < _UNEVEN * low.factor:
            return []
        return [
            f"equal parts take unequal factors, {low.factor:.3g} ({low.name}) to {high.factor:.3g} "
            f"({high.name}): outliers are no part of {self.quantity} and grow with them; diagnose "
            "the model afterwards"
        ]

    def __repr__(self) -> str:
        return f"InitPlan({self._summary()})"

    def _summary(self) -> str:
        before = "unknown" if self.c_before is None else f"{self.c_before:.4g}"
        asked = "" if self.c is None else f" (asked: {self.c:g}, residual {self.residual:.2g})"
        return (
            f"{self.method}: {self.quantity} {before} -> {self.c_after:.4g}{asked}, "
            f"{len(self.blocks)} blocks, {len(self.changes)} parameters to write, "
            f"{self.passes} passes"
        )


_PLANNED: "weakref.WeakKeyDictionary[InitPlan, weakref.ref[nn.Module]]" = (
    weakref.WeakKeyDictionary()
)
"""Whose plan a plan is: not a field, since a plan keeps no model alive and fits others alike."""


def made_for(plan: InitPlan, model: nn.Module) -> InitPlan:
    """Return the plan, and remember for which model it was made.

    Args:
        plan: The plan.
        model: The planned module.
    """
    _PLANNED[plan] = weakref.ref(model)
    return plan


def model_of(plan: InitPlan) -> nn.Module | None:
    """Return the model that a plan was made for; None where it is gone or not known.

    Args:
        plan: The plan.
    """
    known = _PLANNED.get(plan)
    return None if known is None else known()
