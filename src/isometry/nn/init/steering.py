"""Change a residual block while the forward pass runs, so that later blocks see the change.

A pass is a sequence of torch functions. Where a block's output appears in it the block can be
measured, its parameters changed and the functions behind them called again; the pass then goes
on with the new output. One pass thus meets every block at the input that it will have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from isometry.nn.blocks.graph import Vertex, vertex_of

Place = tuple[int, int]
"""Which function of the pass, and which of its results; the input is (0, 0)."""
Visit = Callable[[int, Vertex, Vertex, float], Mapping[int, Tensor] | None]
"""Of a block's index, its source, its target and the norm of its input: what to put for
parameters, by identity, or None."""

_IN_PLACE = {f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "pow")} | {"__setitem__"}


class DivergedError(RuntimeError):
    """The pass is not the sequence of functions that it was."""


class Course(TorchFunctionMode):
    """The functions that a model calls, and where each tensor appears."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.functions: list[Callable] = []
        self.places: dict[Vertex, Place] = {}
        self._note(start)

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Call the function and note it."""
        out = func(*args, **(kwargs or {}))
        if _matters(func, out):
            self.functions.append(func)
            self._note(out)
        return out

    def _note(self, out: object) -> None:
        for position, leaf in enumerate(tree_leaves(out)):
            vertex = vertex_of(leaf) if isinstance(leaf, Tensor) and leaf.grad_fn else None
            if vertex is not None:
                self.places.setdefault(vertex, (len(self.functions), position))

    def chart(self, blocks: Sequence[tuple[Vertex, Vertex]]) -> "Chart":
        """Return the course and where each block begins and ends on it."""
        found = [(self.places.get(source), self.places.get(target)) for source, target in blocks]
        return Chart(self.functions, found)


@dataclass(frozen=True)
class Chart:
    """The functions that a model calls and the windows of its blocks, None where not followed."""

    functions: list[Callable]
    windows: Sequence[tuple[Place | None, Place | None]]


@dataclass(frozen=True)
class _Call:
    function: Callable
    args: Sequence
    kwargs: dict
    out: Any
    before: Tensor | None
    """What the first argument was, where the function works in place."""


class Steering(TorchFunctionMode):
    """Follow a known course and let every block be changed where it ends."""

    def __init__(self, chart: Chart, visit: Visit, start: Tensor) -> None:
        super().__init__()
        if any(place is None for window in chart.windows for place in window):
            raise DivergedError
        self._chart, self._visit = chart, visit
        self._calls: list[_Call] = []
        self._sources: dict[Place | None, tuple[Vertex | None, float]] = {}
        self._starts = {source for source, _ in chart.windows}
        self._ends = {end: (i, start) for i, (start, end) in enumerate(chart.windows)}
        self._time = 0
        self._reach(start)

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Call the function; where it ends a block, visit that block.

        Raises:
            DivergedError: If another function was called here before.
        """
        kwargs = kwargs or {}
        before = args[0].detach().clone() if _in_place(func) else None
        out = func(*args, **kwargs)
        if not _matters(func, out):
            return out
        if self._chart.functions[self._time : self._time + 1] != [func]:
            raise DivergedError
        self._time += 1
        self._calls.append(_Call(func, args, kwargs, out, before))
        self._reach(out)
        return out

    def _reach(self, out: object) -> None:
        for position, leaf in enumerate(tree_leaves(out)):
            place = self._time, position
            if place in self._ends:
                self._end(*self._ends[place], leaf)
            if place in self._starts:
                self._sources[place] = vertex_of(leaf), float(leaf.detach().norm())
                self._calls.clear()

    def _end(self, index: int, source: Place | None, y: Tensor) -> None:
        """Visit a block, whose output appears now, and put the new output into its place.

        Raises:
            DivergedError: If the block is not connected as it was.
        """
        (start, size), end = self._sources.get(source, (None, 0.0)), vertex_of(y)
        if start is None or end is None:
            raise DivergedError
        new = self._visit(index, start, end, size)
        if new is not None:
            with torch.no_grad():
                fresh = _again(self._calls, dict(new)).get(id(y))
                if fresh is not None:
                    y.data.copy_(fresh)


def _in_place(func: Callable) -> bool:
    name = func.__name__
    return name in _IN_PLACE or (name.endswith("_") and not name.startswith("__"))


def _matters(func: Callable, out: object) -> bool:
    """Return whether a function made or changed a tensor; reading an attribute did not."""
    return _in_place(func) or any(isinstance(leaf, Tensor) for leaf in tree_leaves(out))


def _again(calls: Sequence[_Call], new: dict[int, Tensor]) -> dict[int, Tensor]:
    """Call again what depends on tensors with new values; return all new values by identity."""
    for call in calls:
        if not any(id(leaf) in new for leaf in tree_leaves((call.args, call.kwargs))):
            continue
        args, kwargs = tree_map(lambda leaf: new.get(id(leaf), leaf), (call.args, call.kwargs))
        if call.before is not None and id(call.args[0]) not in new:
            args = (call.before.clone(), *args[1:])
        out = call.function(*args, **kwargs)
        for old, fresh in zip(tree_leaves(call.out), tree_leaves(out), strict=True):
            if isinstance(old, Tensor):
                new[id(old)] = fresh
        if call.before is not None:
            new[id(call.args[0])] = args[0]
    return new
