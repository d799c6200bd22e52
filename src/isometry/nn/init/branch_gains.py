r"""The size of a branch whose skip is a matrix, and the plan that sets it.

Where a block is y = A s + f(s) with a map A, its c is not defined. With X what of its Jacobian goes
through the ends of its branch's terms, and S the rest, dy/ds = S + X, its branch gain is

    r = |X|^2 / |S|^2        (Frobenius norms)

the part that the branch adds to the mean square of what a derivative meets in the block. Where S is
a number a and X is free of drift and of its own transpose, r is the block's c. Coefficients that
depend on the state (a gate, attention over earlier outputs) are in S with their own derivatives.
The last map of a branch times g makes r larger by g^2 at the same input.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from isometry.errors import ConvergenceError
from isometry.nn.blocks.blocks import Block
from isometry.nn.init.changes import Change, vanishing
from isometry.nn.init.measured import MeasuredModel
from isometry.nn.init.plans import BRANCH_GAIN, InitPlan, PlannedBlock
from isometry.nn.init.refusals import fixed_size
from isometry.nn.init.scaling import Choice, Redraw, Scaling, chosen, groups_of
from isometry.nn.sandbox.precision import wide
from isometry.nn.sandbox.unwrap import plain_parameters

_PASSES = 8
"""Passes over all blocks at most, the first to see what is there and the last to confirm."""
_ENTRIES = 2**15
"""Entries of the probes of one block, at least."""
_FORMULA = 2
"""Passes after which a factor follows what the last one did, in place of the square."""
_POWERS, _STEP = (0.5, 4.0), 2.5
"""Powers of a factor that a gain is taken to grow by, and the largest step of log factor."""
_ANSWER = 0.05
"""Relative change of a gain that counts as an answer where the factor has at least doubled it."""


@dataclass(frozen=True)
class _Task:
    """What is to be reached, and by which parameters."""

    model: MeasuredModel
    blocks: Sequence[Block]
    targets: Sequence[float]
    scalings: Sequence[Scaling]
    groups: Sequence[Sequence[int]]
    fresh: Mapping[str, Change]

    def changes(self, factors: Sequence[float]) -> dict[str, Change]:
        """Return what the parameters become with a factor for every group."""
        changes, known = dict(self.fresh), plain_parameters(self.model.root)
        for group, factor in zip(self.groups, factors, strict=True):
            for name in dict.fromkeys(n for i in group for n in self.scalings[i].names):
                own = changes.get(name) or Change(known[name].detach())
                changes[name] = own.times(factor)
        return changes

    def total(self, values: Sequence[float]) -> list[float]:
        """Return the sum over each group."""
        return [math.fsum(values[i] for i in group) for group in self.groups]


@dataclass(frozen=True)
class _Pass:
    """The factor of every group, and the gain that every block has under them."""

    factors: Sequence[float]
    gains: Sequence[float]

    def settled(self, task: _Task, rtol: float) -> bool:
        """Return whether every group has what it is asked for."""
        pairs = zip(task.total(self.gains), task.total(task.targets), strict=True)
        return all(abs(gain / target - 1) <= rtol for gain, target in pairs)


def gained_blocks(model: MeasuredModel, *, centre: bool) -> list[Block]:
    """Return the blocks of a model whose branch gains are set.

    Raises:
        ValueError: If centring is asked for, or blocks are named.
    """
    given = {"`centre=True`": centre, "`blocks`": model.blocks is not None}
    for what in (what for what, asks in given.items() if asks):
        raise ValueError(
            f"`branch_gain` and {what} are given; expected one of them, as branch gains are set "
            "for all blocks that are found, and no means are removed. Leave one of them out."
        )
    return model.matrices({})


def fit_gains(
    model: MeasuredModel,
    blocks: Sequence[Block],
    targets: Sequence[float],
    redraw: Redraw,
    rtol: float,
) -> InitPlan:
    """Return the plan under which every block has its target for a branch gain.

    Args:
        model: What is measured.
        blocks: Its blocks, as they are.
        targets: Branch gains, one for every block.
        redraw: What replaces weights that cannot be scaled.
        rtol: Accepted relative distance.

    Returns:
        The plan; its gains are those of its last pass.

    Raises:
        ConvergenceError: If a gain is not within ``rtol`` in the last pass.
        ValueError: If nothing scales a branch, or its gain stays whatever is scaled.
        NotImplementedError: If the pass is not recorded.
    """
    choice = Choice(model.root, redraw)
    scalings = [chosen(choice, block, None) for block in _with_own_ends(blocks, model)]
    task = _Task(model, blocks, targets, scalings, groups_of(scalings), choice.fresh)
    first = [branch_gain(model, block) for block in blocks]
    seen = [_Pass([1.0] * len(task.groups), first)]
    if choice.fresh:
        seen = [_measured(task, seen[0].factors)]
    while not seen[-1].settled(task, rtol):
        if len(seen) == _PASSES:
            raise ConvergenceError(_not_converged(task, seen[-1], rtol))
        seen.append(_measured(task, _next(task, seen)))
        _check_answers(task, seen)
    kept = {name: change.kept() for name, change in task.changes(seen[-1].factors).items()}
    rows = _rows(task, first, seen[-1])
    passes = len(seen) + bool(choice.fresh)
    return InitPlan(math.fsum(targets), "data", rows, passes, kept, quantity=BRANCH_GAIN)


def branch_gain(model: MeasuredModel, block: Block) -> float:
    """Return |X|^2 / |S|^2 of a block, with the same probes every time.

    Raises:
        NotImplementedError: If the pass is not recorded.
    """
    tape, ends = block.segment.tape, block.ends
    if tape is None or any(end is None for end in ends):
        raise NotImplementedError(
            f"`branch_gain` is given, and the branch of block {block.name!r} is only told from its "
            f"skip in a recorded pass ({block.segment.route}); expected operations that are "
            "recorded. Remove what the reason names, or plan by `c`."
        )
    whole = block.segment
    size = math.prod(whole.source_shape)
    count = math.ceil(_ENTRIES / size)
    source = torch.Generator().manual_seed(model.seed + block.index)
    probes = torch.eye(size)
    if 2 * count < size:
        probes = 2.0 * torch.randint(0, 2, (count, size), generator=source) - 1
    _, dtype, device = whole.source_layout
    probes = probes.to(dtype=dtype, device=device).reshape(-1, *whole.source_shape)
    skip = tape.without([end for end in ends if end is not None]).jvp(probes)
    branch = wide(tape.jvp(probes) - skip).square().sum()
    return float(branch / wide(skip).square().sum())


def _with_own_ends(blocks: Sequence[Block], model: MeasuredModel) -> list[Block]:
    """Return the blocks without what several scale their branches by, where something else does."""
    uses = Counter(name for b in blocks for name in {n for names in b.last for n in names})
    known = plain_parameters(model.root)

    def own(names: tuple[str, ...]) -> tuple[str, ...]:
        alone = [n for n in names if uses[n] == 1 and n in known]
        return tuple(n for n in alone if not vanishing(known[n].detach(), 0.0)) or names

    return [replace(b, last=tuple(own(names) for names in b.last)) for b in blocks]


def _measured(task: _Task, factors: Sequence[float]) -> _Pass:
    blocks = task.model.matrices(task.changes(factors))
    gains = [branch_gain(task.model, block) for block in blocks]
    if task.model.progress is not None:
        task.model.progress(len(gains), len(gains))
    return _Pass(factors, gains)


def _next(task: _Task, seen: Sequence[_Pass]) -> list[float]:
    """Return the next factors: a gain grows with their square, or as it did in the last pass.

    Raises:
        ValueError: If a branch has no gain.
    """
    now, then, factors = seen[-1], seen[-2] if len(seen) > 1 else None, []
    targets, gains = task.total(task.targets), task.total(now.gains)
    for q, (target, gain) in enumerate(zip(targets, gains, strict=True)):
        known = [task.total(one.gains)[q] for one in seen]
        if not 0 < gain < math.inf:
            block = task.blocks[task.groups[q][0]]
            ends = (min(known), max(k for k in known if k < math.inf))
            raise ValueError(_unreachable(block, target, *ends))
        power = 2.0
        if then is not None and len(seen) > _FORMULA:
            moved = math.log(now.factors[q] / then.factors[q])
            answer = math.log(gain / known[-2])
            power = min(max(answer / moved, _POWERS[0]), _POWERS[1]) if moved else power
        step = max(min(math.log(target / gain) / power, _STEP), -_STEP)
        factors.append(now.factors[q] * math.exp(step))
    return factors


def _unreachable(block: Block, target: float, low: float, high: float) -> str:
    return (
        f"`branch_gain` asks for {target:.3g} from block {block.name!r}, which has between "
        f"{low:.3g} and {high:.3g} at every scale of its weights that was tried; expected one "
        "inside. Ask for another, or another share of it, or draw its weights anew."
    )


def _check_answers(task: _Task, seen: Sequence[_Pass]) -> None:
    """Refuse a branch whose gain stays while its weights change.

    Raises:
        ValueError: If there is one.
    """
    before, after = seen[-2:]
    for q, group in enumerate(task.groups):
        step, i = after.factors[q] / before.factors[q], group[0]
        if abs(math.log2(step)) >= 1 and abs(after.gains[i] / before.gains[i] - 1) <= _ANSWER:
            name = task.scalings[i].names[0]
            raise ValueError(fixed_size(task.model.root, task.blocks[i], name))


def _rows(task: _Task, first: Sequence[float], last: _Pass) -> tuple[PlannedBlock, ...]:
    factor = {i: f for group, f in zip(task.groups, last.factors, strict=True) for i in group}
    shared = {i: len(group) - 1 for group in task.groups for i in group}
    return tuple(
        PlannedBlock(
            block.name,
            first[i],
            last.gains[i],
            task.targets[i],
            task.scalings[i].names,
            factor[i],
            task.scalings[i].why
            + (f"; shared with {shared[i]} more, only their sum is set" if shared[i] else ""),
        )
        for i, block in enumerate(task.blocks)
    )


def _not_converged(task: _Task, last: _Pass, rtol: float) -> str:
    pairs = zip(last.gains, task.targets, strict=True)
    off = [abs(gain / target - 1) for gain, target in pairs]
    worst = max(range(len(off)), key=off.__getitem__)
    return (
        f"`branch_gain` is not reached in {_PASSES} passes: that of block "
        f"{task.blocks[worst].name!r} is {last.gains[worst]:.3g}; expected "
        f"{task.targets[worst]:.3g} within {rtol:.2g}. Its branch may saturate: lower "
        "`branch_gain`, change the biases, or raise `rtol`."
    )
