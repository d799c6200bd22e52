"""What a block becomes when the parameters that scale it are multiplied by a factor.

Nothing is put in place: the block's own functions are called again with other parameters, at the
input that it has in this run.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isometry.nn.blocks.blocks import Block
from isometry.nn.blocks.segment import Segment
from isometry.nn.blocks.traces import BlockTraces
from isometry.nn.init.measured import MeasuredModel
from isometry.nn.init.replay import LostError, Met, Replay
from isometry.nn.sandbox.precision import wide_on_cpu
from isometry.nn.tape import vertex_of

_STRIDES = 9
"""Strides at most, of 2, 4, 8 ... times, in search of c on the other side of its target."""
_STEPS = 24
"""Steps between these two at most."""
_FINE = 0.25
"""Part of the accepted distance that the search itself may leave."""
_ROUNDING = 8.0
"""Roundings of the output within which a branch counts as 0."""
_MOVED = 0.05
"""Part of a branch's change that is a multiple of the input, from which the skip has moved."""
_EXACT = 1e-2
"""Part of that change that may be neither the branch nor the input."""


@dataclass(frozen=True)
class Unit:
    """A parameter, or the entries of one, that are scaled together."""

    name: str
    part: Tensor | None = None

    def scaled(self, value: Tensor, factor: float) -> Tensor:
        """Return the parameter with these entries multiplied."""
        if self.part is None:
            return factor * value
        return torch.where(self.part.to(value.device), factor * value, value)


@dataclass(frozen=True)
class Trial:
    """A block where a run has come to its end."""

    model: MeasuredModel
    run: Replay
    block: Block
    met: Met

    def branch(self, output: Tensor | None = None) -> Tensor:
        """Return what is added to the skip, for an output of the block or for its own."""
        y = self.met.output if output is None else output.detach()
        skip = self.block.inside
        return y - skip * self.met.input if skip else y

    @property
    def closed(self) -> bool:
        """Whether the branch is 0, up to rounding of the output."""
        y = self.met.output
        rounding = _ROUNDING * torch.finfo(y.dtype).eps
        return bool(self.branch().abs().max() <= rounding * y.abs().max())

    def with_factor(self, units: Sequence[Unit], factor: float) -> dict[str, Tensor]:
        """Return what the parameters become when their units are multiplied."""
        new: dict[str, Tensor] = {}
        for unit in units:
            value = new.get(unit.name, self.run.current(unit.name))
            new[unit.name] = unit.scaled(value, factor)
        return new

    def traces(self, new: Mapping[str, Tensor] | None = None) -> BlockTraces:
        """Return the traces of the block, as it is or with other parameters.

        Raises:
            LostError: If its output no longer depends on its input.
        """
        target = self.met.target
        if new is not None:
            with torch.enable_grad():
                vertex = vertex_of(self.run.outcome(new))
            if vertex is None:
                raise LostError
            target = vertex
        segment = Segment(self.met.source, target, self.block.segment.ranks)
        return self.model.trace(replace(self.block, segment=segment))

    def doubled(self, units: Sequence[Unit]) -> tuple[float, bool]:
        """Return by which power of 2 the branch grows when units double, and if the skip moves."""
        with torch.no_grad():
            f, other = self.branch(), self.run.outcome(self.with_factor(units, 2.0))
            new = self.branch(other)
        size = float(new.norm()) / max(float(f.norm()), 1e-300)
        power = math.log2(size) if size > 0 else 0.0
        return power, _moves_skip(f, new, self.met.input)

    def change_doubled(self, units: Sequence[Unit]) -> float:
        """Return by which power of 2 the branch's change from 1 to 2 times grows from 2 to 4 times.

        What is constant in the branch, as a bias is, does not count; 0 where nothing changes.
        """
        with torch.no_grad():
            f, twice, four = (
                self.branch(self.run.outcome(self.with_factor(units, factor))).clone()
                for factor in (1.0, 2.0, 4.0)
            )
        first, second = float((twice - f).norm()), float((four - twice).norm())
        rounding = _ROUNDING * torch.finfo(f.dtype).eps * float(self.met.output.norm())
        return math.log2(second / first) if min(first, second) > rounding else 0.0


def _moves_skip(f: Tensor, new: Tensor, s: Tensor) -> bool:
    """Return whether a changed branch is a multiple of the branch plus one of the input."""
    if new.numel() != s.numel() or not bool(new.any()):
        return False
    pair = wide_on_cpu(torch.stack([f.flatten(), s.flatten()], 1))
    target = wide_on_cpu(new.flatten())
    solution = torch.linalg.lstsq(pair, target[:, None]).solution
    rest, size = target - (pair @ solution)[:, 0], float(target.norm())
    moved = float(solution[1].abs() * pair[:, 1].norm()) > _MOVED * size
    return moved and float(rest.norm()) <= _EXACT * size


class UnreachableError(Exception):
    """No factor gives the target."""

    def __init__(self, low: tuple[float, float], high: tuple[float, float]) -> None:
        super().__init__()
        self.low, self.high = low, high
        """Factor and c side by side around the target, or the least and the most that was seen."""


def solve(trial: Trial, units: Sequence[Unit], target: float, rtol: float) -> float:
    """Return the factor of units that gives a block the target, by bracketing and false position.

    Raises:
        UnreachableError: If c stays on one side of the target, or jumps over it.
    """
    if not units:
        raise UnreachableError((1.0, 0.0), (1.0, 0.0))

    def c(factor: float) -> float:
        return trial.traces(trial.with_factor(units, factor)).c

    first = (1.0, c(1.0))
    if _close(first, target, _FINE * rtol):
        return 1.0
    seen = [first]
    upwards = first[1] < target
    for ratio in (2.0, 0.5) if upwards else (0.5, 2.0):  # c falls again where branches saturate
        last = first
        for stride in range(1, _STRIDES):
            point = (last[0] * ratio**stride, c(last[0] * ratio**stride))
            if (point[1] >= target) == upwards:
                low, high = (last, point) if upwards else (point, last)
                return _between(c, low, high, target, rtol)
            seen.append(point)
            last = point
    raise UnreachableError(min(seen, key=lambda p: p[1]), max(seen, key=lambda p: p[1]))


def _between(
    c: Callable[[float], float],
    low: tuple[float, float],
    high: tuple[float, float],
    target: float,
    rtol: float,
) -> float:
    best = min(low, high, key=lambda point: abs(point[1] - target))
    for step in range(_STEPS):
        if _close(best, target, _FINE * rtol):
            return best[0]
        factor = _false_position(low, high, target) if step % 3 else math.sqrt(low[0] * high[0])
        point = (factor, c(factor))
        best = min(best, point, key=lambda p: abs(p[1] - target))
        low, high = (point, high) if point[1] < target else (low, point)
    if _close(best, target, rtol):
        return best[0]
    raise UnreachableError(low, high)


def _false_position(low: tuple[float, float], high: tuple[float, float], target: float) -> float:
    """Return where log c, taken as linear in the log of the factor, meets the target."""
    floor = 1e-300
    a, b, t = (math.log(max(v, floor)) for v in (low[1], high[1], target))
    share = min(max((t - a) / (b - a), 0.02), 0.98) if b > a else 0.5
    return low[0] * (high[0] / low[0]) ** share


def _close(point: tuple[float, float], target: float, rtol: float) -> bool:
    return abs(point[1] / target - 1) <= rtol
