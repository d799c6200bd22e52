"""Remove what a branch adds to every sample alike: its mean goes into a bias of the branch.

The model is run once more under the plan. Where a block ends, each bias of its branch is tried: one
that moves the branch's output by just what is added to it takes the mean over samples and
positions away, and the run goes on without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from isometry.errors import ConvergenceError
from isometry.nn.blocks.blocks import Block
from isometry.nn.init.changes import Change, tried
from isometry.nn.init.fit import fit
from isometry.nn.init.measured import MeasuredModel
from isometry.nn.init.plans import CentredBlock, InitPlan
from isometry.nn.init.replay import LostError, RecordedPass
from isometry.nn.init.scaling import Redraw
from isometry.nn.init.trial import Trial
from isometry.nn.sandbox.precision import wide
from isometry.nn.sandbox.unwrap import plain_parameters

__all__ = ["centred", "without_means"]

Recorded: TypeAlias = tuple[Sequence[Block], RecordedPass]
_ROUNDS = 3

_FEWEST = 8  # samples and positions: fewer, and the mean is mostly what they do not share
_NOT_FOLLOWED = (
    "`centre` is True, but the model does not run as it was recorded, so that no branch can be "
    "looked into; expected a model of plain operations. Plan without `centre`."
)


@dataclass(frozen=True)
class _Place:
    """A bias that moves the branch's output, and along which of its axes."""

    name: str
    axis: int


def without_means(
    model: MeasuredModel,
    recorded: Recorded,
    plan: InitPlan,
    targets: Sequence[float],
    rtol: float,
) -> InitPlan:
    """Return the plan with biases that remove the branches' means, every block at its target.

    Args:
        model: The model at its input.
        recorded: Its blocks, and the pass in which they were found.
        plan: What the fit made.
        targets: Each block's part of c.
        rtol: Accepted relative distance from it.

    Raises:
        ValueError: If the input has too few samples and positions.
        NotImplementedError: If the model does not run as it was recorded.
        ConvergenceError: If a block is not within ``rtol`` in the fourth round.
    """
    made = centred(model, recorded, plan)
    for _ in range(_ROUNDS):
        if made.residual <= rtol:
            return made
        with tried(model.root, made.changes):  # without the means the blocks are others
            stream, calls = model.recorded({})
            fitted = fit(model, (stream.blocks, calls), targets, Redraw(None, model.seed, {}), rtol)
            known = {name: change.kept() for name, change in fitted.changes.items()}
        plan = replace(made, changes={**made.changes, **known})
        again = centred(model, recorded, plan)
        rows = zip(made.centred, again.centred, strict=True)
        kept = tuple(replace(now, before=first.before) for first, now in rows)
        made = replace(again, centred=kept)
    if made.residual <= rtol:
        return made
    raise ConvergenceError(
        f"`plan` is {made.residual:.2g} from its targets after {_ROUNDS} rounds of centring; "
        f"expected {rtol:g}. Raise `rtol`, or plan without `centre`."
    )


def centred(model: MeasuredModel, recorded: Recorded, plan: InitPlan) -> InitPlan:
    """Return the plan with biases that remove the branches' means, and what c then is.

    Args:
        model: The model at its input.
        recorded: Its blocks, and the pass in which they were found.
        plan: What the fit made.

    Raises:
        ValueError: If the input has too few samples and positions.
        NotImplementedError: If the model does not run as it was recorded.
    """
    blocks, calls = recorded
    if not calls.followed or len(blocks) != len(plan.blocks):
        raise NotImplementedError(_NOT_FOLLOWED)
    found: list[CentredBlock] = []
    cumulants: list[float] = []
    changes = dict(plan.changes)
    try:
        with model.replay(calls, changes) as run:
            for met in run:
                trial = Trial(model, run, blocks[met.index], met)
                cumulants.append(trial.traces().c)
                row, new = _centred_block(trial)
                run.change(new)
                changes |= {name: Change(value.detach().clone()) for name, value in new.items()}
                found.append(row)
    except LostError:
        raise NotImplementedError(_NOT_FOLLOWED) from None
    rows = [replace(row, c_after=c) for row, c in zip(plan.blocks, cumulants, strict=True)]
    return replace(plan, blocks=tuple(rows), changes=changes, centred=tuple(found))


@torch.no_grad()
def _centred_block(trial: Trial) -> tuple[CentredBlock, dict[str, Tensor]]:
    """Return what becomes of a block's mean, and the new bias.

    Raises:
        ValueError: If there are too few samples and positions.
    """
    branch = trial.branch().clone()
    place = _bias(trial, branch)
    axis = branch.ndim - 1 if place is None else place.axis
    count = branch.numel() // branch.shape[axis]
    if count < _FEWEST:
        raise ValueError(
            f"`x` gives block {trial.block.name!r} {count} samples and positions; expected at "
            f"least {_FEWEST} for `centre`, whose mean is over them. Pass a batch."
        )
    before = _coherent(branch, axis)
    if place is None:
        why = "no bias moves the branch's output: wrap its activation or give its end a bias"
        return CentredBlock(trial.block.name, before, before, None, why), {}
    bias = trial.run.current(place.name)
    new = {place.name: bias - _mean(branch, axis).reshape(bias.shape)}
    after = _coherent(trial.branch(trial.run.outcome(new)), axis)
    return CentredBlock(trial.block.name, before, after, place.name, "its mean subtracted"), new


def _bias(trial: Trial, branch: Tensor) -> _Place | None:
    """Return the nearest parameter that is added to the branch's output."""
    known = plain_parameters(trial.model.root)
    rounding = 1e-3 if branch.dtype in (torch.float16, torch.bfloat16) else 1e-4
    for name in trial.block.parameters:
        if known[name].ndim != 1:
            continue
        bias = trial.run.current(name)
        scale = float(branch.square().mean().sqrt()) or 1.0
        step = scale * torch.linspace(0.5, 1.5, bias.numel(), dtype=bias.dtype).to(bias)
        moved = trial.branch(trial.run.outcome({name: bias + step})) - branch
        for axis in reversed(range(1, branch.ndim)):
            if branch.shape[axis] != bias.numel():
                continue
            shape = [1] * branch.ndim
            shape[axis] = bias.numel()
            if float((moved - step.reshape(shape)).abs().max()) <= rounding * scale:
                return _Place(name, axis)
    return None


def _mean(branch: Tensor, axis: int) -> Tensor:
    others = [other for other in range(branch.ndim) if other != axis]
    return branch.mean(dim=others)


def _coherent(branch: Tensor, axis: int) -> float:
    """Return the part of the branch's mean square that is the same for every sample."""
    whole = float(wide(branch).square().mean())
    return float(_mean(wide(branch), axis).square().mean()) / whole if whole > 0 else 0.0
