"""Branches that a gate closes: a parameter at 0, or several, through any function.

Where a gate is closed, the branch answers to what opens it and to nothing else: of the entries
that are 0 those with a gradient are the gate's, whatever computes it (tanh of a scalar, a third
of the outputs of a modulation, the last layer of a small network).
"""

import torch
from torch import Tensor

from isometry.nn.init.changes import Change
from isometry.nn.init.refusals import closed_gate, no_opening
from isometry.nn.init.scaling import Choice, Scaling, chosen, zero_ends
from isometry.nn.init.trial import Trial, Unit, UnreachableError, solve
from isometry.nn.sandbox.unwrap import plain_parameters

_ACTS = 1e-8
"""What a gate at 1 gives c at least; a bias that is only added gives it nothing."""


def opened(choice: Choice, trial: Trial, target: float, rtol: float) -> Scaling | None:
    """Open the gate of a closed branch as far as its c asks for, and say what scales it then.

    Where the gate alone does not get there (tanh ends at 1), it is opened at 1 and the last
    linear map is scaled.

    Returns:
        The scaling; None where the branch is 0 because of the map or the gain that it ends in.

    Raises:
        ValueError: If no parameter opens the branch, or it must not be opened.
    """
    gates, ends = _openers(choice, trial), zero_ends(choice, trial.block)
    name = min(gates, key=lambda n: choice.parameter(n).ndim, default=None)
    if ends and (name is None or choice.parameter(name).ndim > 1 or _is_end(trial, name)):
        return None
    if name is None:
        zero = [n for n in _names(choice, trial) if not bool(choice.parameter(n).any())]
        raise ValueError(no_opening(trial.block, zero))
    if choice.redraw.scheme is None:
        raise ValueError(closed_gate(trial.block, name))
    unit = Unit(name, None if bool(gates[name].all()) else gates[name])
    _put(choice, trial, name, _opened(choice, trial, name, gates[name]))
    try:
        factor = solve(trial, [unit], target, rtol)
    except UnreachableError:
        scaling = chosen(choice, trial.block, None)
        why = f"gate `{name}` opened at 1; {scaling.why}"
        return Scaling(scaling.units, why, scaling.solved)
    _put(choice, trial, name, unit.scaled(trial.run.current(name), factor))
    return Scaling((unit,), f"gate `{name}`, opened", True)


def _is_end(trial: Trial, name: str) -> bool:
    return any(name in names for names in trial.block.last)


def _put(choice: Choice, trial: Trial, name: str, value: Tensor) -> None:
    choice.fresh[name] = Change(value)
    trial.run.change({name: value})


def _opened(choice: Choice, trial: Trial, name: str, part: Tensor) -> Tensor:
    """Return a gate at 1, or at a draw where it is the map of a gate without a bias."""
    value = trial.run.current(name)
    if name in choice.redraw.maps:
        return torch.where(part, choice.redraw.draw(name).values(name, value), value)
    return torch.where(part, 1.0, value)


def _names(choice: Choice, trial: Trial) -> list[str]:
    known = plain_parameters(choice.root)
    held = [name for name in trial.block.parameters if name in known]
    return [name for name in held if bool((choice.parameter(name) == 0).any())]


def _openers(choice: Choice, trial: Trial) -> dict[str, Tensor]:
    """Return {parameter: its entries that are 0 and open the branch}.

    A gate that is flat at 0 (a square, a ReLU) has no gradient: all its zeros are tried.
    """
    zero = {name: trial.run.current(name) == 0 for name in _names(choice, trial)}
    grads = _gradients(trial, list(zero))
    seen = {n: zero[n] & (grads[n] != 0) for n in zero if grads.get(n) is not None}
    before = trial.traces().c

    def opens(name: str, part: Tensor) -> bool:
        if not bool(part.any()):
            return False
        after = trial.traces({name: _opened(choice, trial, name, part)}).c
        return after > max(_ACTS, 1e4 * before)

    found = {name: part for name, part in seen.items() if opens(name, part)}
    flat = {n: part for n, part in zero.items() if part.ndim < 2 and n not in found}
    return found or {name: part for name, part in flat.items() if opens(name, part)}


def _gradients(trial: Trial, names: list[str]) -> dict[str, Tensor | None]:
    """Return the gradient of a random part of the block's output by each parameter."""
    leaves = {n: trial.run.current(n).clone().requires_grad_() for n in names}
    with torch.enable_grad():
        output = trial.run.outcome(leaves)
    if not leaves or not output.requires_grad:
        return {}
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(output.shape, generator=generator).to(output)
    grads = torch.autograd.grad(output, list(leaves.values()), probe, allow_unused=True)
    return dict(zip(leaves, grads, strict=True))
