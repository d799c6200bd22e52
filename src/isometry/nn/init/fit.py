r"""The data route: scale the end of every branch until each block has its share of c.

A branch Jacobian X with traces t, v, k at skip a contributes (v + k) / (a + t)^2; with its last
linear map times g it contributes g^2 (v + k) / (a + g t)^2, which is solved for g. Later blocks
see a changed input, so every pass corrects the blocks while it runs: each is measured, always with
the same probes, at the input that the corrected blocks before it give.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from isometry.errors import ConvergenceError
from isometry.nn.blocks.blocks import Block
from isometry.nn.blocks.traces import BlockTraces
from isometry.nn.init.changes import Change
from isometry.nn.init.copies import copies, linear_maps
from isometry.nn.init.gates import opened
from isometry.nn.init.history import History, Seen
from isometry.nn.init.measured import MeasuredModel
from isometry.nn.init.plans import InitPlan, PlannedBlock
from isometry.nn.init.refusals import fixed_size, unreachable
from isometry.nn.init.replay import LostError, RecordedPass
from isometry.nn.init.scaling import (
    Choice,
    Redraw,
    Scaling,
    chosen,
    groups_of,
    redrawn,
)
from isometry.nn.init.trial import Trial, Unit, UnreachableError, solve
from isometry.nn.sandbox.unwrap import plain_parameters

_PASSES = 8
"""Passes over all blocks at most, the first to see what is there and the last to confirm."""
_USUAL = 3
"""Passes that most models take, as far as progress can know."""
_NOTHING = 1e-6
"""Part of its target up to which a block's c counts as rounding at every scale of its weights."""
_PATIENCE = 4
"""The pass from which on factors are searched for in the block instead of taken from a formula."""


@dataclass(frozen=True)
class Task:
    """What is to be reached, and by which parameters."""

    model: MeasuredModel
    targets: Sequence[float]
    rtol: float
    scalings: Sequence[Scaling]
    groups: Sequence[Sequence[int]]
    fresh: Mapping[str, Change]
    """What is set or drawn anew before anything is scaled."""

    def changes(self, history: History) -> dict[str, Change]:
        """Return what the parameters become, as the history stands."""
        changes, known = dict(self.fresh), plain_parameters(self.model.root)
        for q in range(len(self.groups)):
            if history.factor(q) != 1.0:
                for unit in self.units(q):
                    own = changes.get(unit.name) or Change(known[unit.name].detach())
                    changes[unit.name] = own.times_on(history.factor(q), unit.part)
        return changes

    def units(self, q: int) -> list[Unit]:
        """Return what is scaled in a group."""
        units = [unit for index in self.groups[q] for unit in self.scalings[index].units]
        whole = {unit.name: unit for unit in units if unit.part is None}
        return [*whole.values(), *(unit for unit in units if unit.part is not None)]

    def report(self, index: int, sweep: int) -> None:
        """Tell how far the fit is, after a block."""
        blocks = len(self.targets)
        if self.model.progress is not None:
            done = (sweep - 1) * blocks + index + 1
            self.model.progress(done, max(_USUAL, sweep) * blocks)

    def why(self, index: int) -> str:
        """Return how the tensors of a block were chosen, and who else has them."""
        others = len(self.groups[self.group_of(index)]) - 1
        shared = f"; shared with {others} more, only their sum is set" if others else ""
        return self.scalings[index].why + shared

    def solved(self, q: int, sweep: int) -> bool:
        """Return whether the factor of a group is searched for in the block itself.

        Where the formula is right it is fast; where it has not got there in time it is wrong.
        """
        alone = len(self.groups[q]) == 1
        return alone and (self.scalings[self.groups[q][0]].solved or sweep >= _PATIENCE)

    def group_of(self, index: int) -> int:
        """Return the place of the group that a block is in."""
        return next(q for q, group in enumerate(self.groups) if index in group)

    def met(
        self, history: History, sweep: int, q: int, traces: Mapping[int, BlockTraces], size: float
    ) -> Seen:
        """Return what a group has in a pass, not yet corrected."""
        c = math.fsum(traces[i].c for i in self.groups[q])
        target = math.fsum(self.targets[i] for i in self.groups[q])
        return Seen(sweep, q, c, target, size, history.factor(q))

    def corrected(self, history: History, seen: Seen, traces: Mapping[int, BlockTraces]) -> History:
        """Return the history with a measurement and the correction that follows from all.

        Raises:
            ValueError: If no factor gives the target.
        """
        group = self.groups[seen.group]
        bare = factor_for([traces[i] for i in group], [self.targets[i] for i in group])
        step = history.and_then(seen).correction(seen.group, bare)
        return history.and_then(replace(seen, step=step))


@dataclass(frozen=True)
class Pass:
    """What one pass over the blocks leaves: the history, and the traces it is made of."""

    history: History
    traces: Mapping[int, BlockTraces]
    sweep: int


def fit(
    model: MeasuredModel,
    recorded: tuple[Sequence[Block], RecordedPass],
    targets: Sequence[float],
    redraw: Redraw,
    rtol: float,
) -> InitPlan:
    """Return the plan under which every block has its target.

    Raises:
        ConvergenceError: If a block is not within ``rtol`` in the last pass.
        ValueError: If a block cannot be scaled to its target.
    """
    blocks, calls = recorded
    task = _task(model, recorded, targets, redraw, rtol)
    state = first = _first(task, blocks, calls.followed)
    while not state.history.settled(state.sweep, rtol):
        if state.sweep == _PASSES:
            raise ConvergenceError(_not_converged(task, state))
        after = _replayed(task, state, blocks, calls) if calls.followed else None
        calls = replace(calls, complete=after is not None)
        state = after or _measured(task, state)
    rows = [
        PlannedBlock(
            block.name,
            first.traces[i].c,
            state.traces[i].c,
            targets[i],
            task.scalings[i].names,
            state.history.factor(task.group_of(i)),
            task.why(i),
        )
        for i, block in enumerate(blocks)
    ]
    kept = {name: change.kept() for name, change in task.changes(state.history).items()}
    return InitPlan(math.fsum(targets), "data", tuple(rows), state.sweep, kept)


def _task(
    model: MeasuredModel,
    recorded: tuple[Sequence[Block], RecordedPass],
    targets: Sequence[float],
    redraw: Redraw,
    rtol: float,
) -> Task:
    blocks, calls = recorded
    choice = Choice(model.root, redraw)
    if redraw.scheme is not None:
        for index in copies(blocks, model.root):
            name = linear_maps(blocks[index])[0]
            choice.fresh[name] = redrawn(name, "linear", redraw)
    scalings = _tried(model, blocks, calls, targets, choice, rtol) if calls.followed else None
    if scalings is None:
        scalings = [chosen(choice, block, None) for block in blocks]
    return Task(model, targets, rtol, scalings, groups_of(scalings), choice.fresh)


def _tried(
    model: MeasuredModel,
    blocks: Sequence[Block],
    calls: RecordedPass,
    targets: Sequence[float],
    choice: Choice,
    rtol: float,
) -> list[Scaling] | None:
    """Choose what scales every block in a run that tries it out; None where the run gets lost."""
    found = []
    try:
        with model.replay(calls, {}) as run:
            for met in run:
                trial = Trial(model, run, blocks[met.index], met)
                gate = opened(choice, trial, targets[met.index], rtol) if trial.closed else None
                found.append(gate or chosen(choice, trial.block, trial))
    except LostError:
        return None
    return found


def _first(task: Task, blocks: Sequence[Block], followed: bool) -> Pass:
    """Measure the blocks as they are, and correct them all where one is off.

    Where something is drawn anew first, this pass says nothing of what will be scaled. What has
    no c here may have one in a run that can try other factors.
    """
    traces = {}
    for block in blocks:
        traces[block.index] = task.model.trace(block)
        task.report(block.index, 1)
    history = History(((),) * len(task.groups))
    if task.fresh:
        return Pass(history, traces, 1)
    met = [task.met(history, 1, q, traces, math.nan) for q in range(len(task.groups))]
    off = any(seen.distance > task.rtol for seen in met)
    for seen in met:
        silent = followed and _silent([traces[i] for i in task.groups[seen.group]])
        known = history.and_then(seen)
        history = task.corrected(history, seen, traces) if off and not silent else known
    return Pass(history, traces, 1)


def _next(
    task: Task,
    history: History,
    seen: Seen,
    traces: Mapping[int, BlockTraces],
    trial: Trial | None = None,
) -> History:
    """Return the history with a group that a pass met: corrected from the first one on that is off.

    Later groups are corrected even where they are within ``rtol``: their input has changed.

    Raises:
        ValueError: If no factor gives the target.
    """
    if seen.distance <= task.rtol and not history.correcting(seen.sweep):
        return history.and_then(seen)
    silent = _silent([traces[i] for i in task.groups[seen.group]])
    if trial is None or not (silent or task.solved(seen.group, seen.sweep)):
        return task.corrected(history, seen, traces)
    try:
        step = solve(trial, task.units(seen.group), seen.target, task.rtol)
    except UnreachableError as error:
        known = [one.c for one in history.groups[seen.group]]
        if silent and max([error.high[1], *known]) <= _NOTHING * seen.target:
            return task.corrected(history, seen, traces)  # which says that it is silent
        high = max([error.high[1], *known])
        fixed = [unit.name for unit in task.units(seen.group) if _computed(trial.block, unit)]
        if fixed and error.low[1] < seen.target < high:  # orthogonal: it turns and does not grow
            text = fixed_size(task.model.root, trial.block, fixed[0])
        else:
            text = unreachable(trial.block, seen.target, error.low, (error.high[0], high))
        raise ValueError(text) from error
    return history.and_then(replace(seen, step=step))


def _computed(block: Block, unit: Unit) -> bool:
    magnitude = unit.name.endswith(("weight.original0", "weight_g"))
    return block.parameters.get(unit.name) == "reparametrised" and not magnitude


def _replayed(task: Task, state: Pass, blocks: Sequence[Block], calls: RecordedPass) -> Pass | None:
    """Correct the blocks one after the other, each at the input that those before it give.

    None where the recorded calls turn out not to be what the model does.
    """
    history, traces, sweep = state.history, dict(state.traces), state.sweep + 1
    try:
        with task.model.replay(calls, task.changes(history)) as run:
            for met in run:
                trial = Trial(task.model, run, blocks[met.index], met)
                traces[met.index] = trial.traces()
                q = task.group_of(met.index)
                if met.index == task.groups[q][-1]:
                    seen = task.met(history, sweep, q, traces, met.size)
                    history = _next(task, history, seen, traces, trial)
                    step = history.groups[q][-1].step
                    units = task.scalings[met.index].units if step != 1.0 else ()
                    run.change(trial.with_factor(units, step))
                task.report(met.index, sweep)
    except LostError:
        return None
    shared = history.correcting(sweep) and max(map(len, task.groups)) > 1
    faithful = shared or task.model.agrees(run.output, task.changes(history))
    return Pass(history, traces, sweep) if faithful else None


def _measured(task: Task, state: Pass) -> Pass:
    """Record the model under the changes so far, and correct all blocks from what is seen."""
    history, sweep = state.history, state.sweep + 1
    with task.model.under(task.changes(history)) as blocks:
        traces = {block.index: task.model.trace(block) for block in blocks}
    for index in sorted(traces):
        q = task.group_of(index)
        if index == task.groups[q][-1]:
            seen = task.met(history, sweep, q, traces, math.nan)
            history = _next(task, history, seen, traces)
        task.report(index, sweep)
    return Pass(history, traces, sweep)


def _silent(traces: Sequence[BlockTraces]) -> bool:
    """Return whether blocks have no c that is more than noise."""
    noise = math.fsum(t.standard_error["v"] + t.standard_error["k"] for t in traces)
    return math.fsum(t.v + t.k for t in traces) <= noise


def factor_for(traces: Sequence[BlockTraces], targets: Sequence[float]) -> float:
    """Return what the branches must be multiplied by.

    Raises:
        ValueError: If no factor gives the target.
    """
    first, target = traces[0], math.fsum(targets)
    spread = math.fsum(t.v + t.k for t in traces)
    if _silent(traces):
        raise ValueError(
            f"`c` asks for {target:.3g} from block {first.name!r}, whose branch Jacobian gives "
            f"{spread:.2g} at any scale (it is 0 or skew-symmetric); expected a branch with a "
            "symmetric part. Leave it out with `blocks=`, or draw its weights anew."
        )
    if len(traces) > 1:
        return math.sqrt(target / math.fsum(t.c for t in traces))
    skip, drift = abs(first.skip), math.copysign(1.0, first.skip) * first.t
    room = math.sqrt(spread) - drift * math.sqrt(target)
    if room <= 0:
        raise ValueError(
            f"`c` asks for {target:.3g} from block {first.name!r}, whose branch drifts along the "
            f"skip and reaches less than {spread / drift**2:.3g} at any scale; expected a smaller "
            "c for it. Lower `c`, or its share."
        )
    return skip * math.sqrt(target) / room


def _not_converged(task: Task, state: Pass) -> str:
    worst = max((own[-1] for own in state.history.groups), key=lambda seen: seen.distance)
    first = task.groups[worst.group][0]
    return (
        f"`c` is not reached in {_PASSES} passes: block {state.traces[first].name!r} has "
        f"{state.traces[first].c:.3g}; expected {task.targets[first]:.3g} within {task.rtol:.2g}. "
        "A normalisation behind it may undo its scale, or its activation saturates: lower `c`, "
        "change the biases, or raise `rtol`."
    )
