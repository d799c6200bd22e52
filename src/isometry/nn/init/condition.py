r"""The c at which the blocks of a model have a wanted condition number together.

The universal law turns a condition number into a c where blocks are small. Where they are not,
the product law of their own spectra (docs/theory.md, section 11) says what the bulk's edges are
under a plan, and c follows by secants. The law's condition number kappa is read as the c that it
has in the universal law, c(kappa): where blocks are small, c(kappa) is c.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from isometry.errors import ConvergenceError
from isometry.nn.blocks.spectra import PROBE_ENTRIES, block_spectra
from isometry.nn.init.measured import MeasuredModel
from isometry.nn.init.plans import InitPlan, PlannedCondition
from isometry.theory.design import cumulant_from_condition_number
from isometry.theory.laws.product import ProductLaw
from isometry.theory.laws.universal import UniversalLaw

_ROUNDS = 6
"""Plans at most, each at a c of its own."""
_WRITTEN_OUT = 768
"""Values up to which blocks are written out: no noise of probes, at the price of those below."""
_FINER = 4
"""Times the entries of probes that a distribution function takes: edges need more."""
_SLOPES = (0.3, 4.0)
"""Bounds of d log c(kappa) / d log c, which is 1 for small blocks."""
_WIDEST = 1400.0
"""Width of the law in log lam up to which its condition number is a float64."""
_STEP = 3.0
"""Factor by which c changes at most from one round to the next."""


class NoProductLawError(Exception):
    """There is no product law of a stream; the message is a sentence that says why."""


@dataclass(frozen=True)
class _Round:
    """A plan, its c, and the c that its product law's condition number has.

    Attributes:
        plan: The plan.
        kappa: The condition number of its product law.
        effective: The c at which the universal law has it.
    """

    plan: InitPlan
    kappa: float
    effective: float


def conditioned(
    fitted: Callable[[float], InitPlan],
    measured: Callable[[InitPlan], float],
    asked: float,
    rtol: float,
) -> InitPlan:
    """Return the plan under which the product law has a condition number.

    Args:
        fitted: Returns the plan at a c; the universal law's c is that of the first round.
        measured: Returns the condition number that the product law has under a plan, or raises
            :class:`NoProductLawError`.
        asked: The condition number.
        rtol: Accepted relative distance of c(kappa) from that of ``asked``.

    Returns:
        The plan, with its ``condition``; that of the universal law where there is no product law.

    Raises:
        ConvergenceError: If the condition number is not reached.
        ValueError: If a block cannot have the c that it takes.
    """
    target = cumulant_from_condition_number(asked)
    first, seen = fitted(target), list[_Round]()
    made = first
    while True:
        try:
            kappa = measured(made)
        except NoProductLawError as error:
            after = UniversalLaw(first.c_after).condition_number()
            said = PlannedCondition(asked, after, "universal", len(seen) + 1, str(error))
            return replace(first, condition=said)
        seen.append(_Round(made, kappa, cumulant_from_condition_number(kappa)))
        if abs(seen[-1].effective / target - 1) <= rtol:
            said = PlannedCondition(asked, kappa, "product", len(seen))
            return replace(made, condition=said)
        if len(seen) == _ROUNDS:
            raise ConvergenceError(_not_reached(seen, asked, target))
        made = _fitted(fitted, _next(seen, target), seen[-1], asked)


def _fitted(fitted: Callable[[float], InitPlan], c: float, last: _Round, asked: float) -> InitPlan:
    """Return the plan at the next c.

    Raises:
        ValueError: If a block cannot have its share of it.
    """
    try:
        return fitted(c)
    except ValueError as error:
        raise ValueError(
            f"`condition_number` is {asked:g} and needs c = {c:.3g}, which the model does not "
            f"reach (at c = {last.plan.c_after:.3g} the product law of its blocks has "
            f"{last.kappa:.3g}); expected one nearer to that: {error}"
        ) from error


def product_condition_number(model: MeasuredModel, made: InitPlan) -> float:
    """Return the ratio of the edges of the blocks' product law under a plan.

    The probes are the same at every plan, so that two differ by what they plan and not by noise.

    Raises:
        NoProductLawError: If there is none.
    """
    stream = model.stream(made.changes)
    if len(stream.blocks) < 2:
        raise NoProductLawError("There are no two residual blocks to multiply.")
    if stream.remark:
        raise NoProductLawError(stream.remark)
    generator = torch.Generator().manual_seed(model.seed + len(stream.blocks))
    size = max(block.size for block in stream.blocks)
    method = "dense" if size <= _WRITTEN_OUT else None
    probes = math.ceil(_FINER * PROBE_ENTRIES / size)
    try:
        factors = block_spectra(stream.blocks, method, num_probes=probes, generator=generator)
        if any(not factor.values[0] > 0 for factor in factors):
            raise NoProductLawError("Singular values of a block are 0.")
        low, high = ProductLaw(factors).log_support()
    except (ConvergenceError, NotImplementedError) as error:
        raise NoProductLawError(str(error)) from error
    if not 0 < high - low < _WIDEST:
        raise NoProductLawError(f"The law's edges are exp({high - low:.3g}) apart.")
    return math.exp((high - low) / 2)


def _next(seen: Sequence[_Round], target: float) -> float:
    """Return the c of the next round: along the secant of the two nearest, in logarithms."""
    near = sorted(seen, key=lambda r: abs(math.log(r.effective / target)))[:2]
    best, slope = near[0], 1.0
    if len(near) == 2:
        moved = math.log(near[1].plan.c_after / best.plan.c_after)
        answer = math.log(near[1].effective / best.effective)
        slope = min(max(answer / moved, _SLOPES[0]), _SLOPES[1]) if moved else 1.0
    step = math.log(target / best.effective) / slope
    most = math.log(_STEP)
    return best.plan.c_after * math.exp(min(max(step, -most), most))


def _not_reached(seen: Sequence[_Round], asked: float, target: float) -> str:
    best = min(seen, key=lambda r: abs(math.log(r.effective / target)))
    return (
        f"`condition_number` is {asked:g} and is not reached in {_ROUNDS} rounds: the product law "
        f"of the blocks' own spectra has {best.kappa:.4g} at c = {best.plan.c_after:.4g}; expected "
        f"one that a c gives. Take that, as `c={best.plan.c_after:.4g}`, or raise `rtol`."
    )
