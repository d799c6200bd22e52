"""Run a recorded forward pass again, block by block, with other parameters from any block on.

The torch functions that a model calls are a list, and each refers to its tensors by number. The
list is run without the model; where a block ends the run stands still, so that the block can be
measured, its parameters changed and its own functions called again. One run thus meets every
block at the input that it will have. What Python does between the functions (a branch taken
because of a value, a number read from a tensor) is as it was recorded: whoever trusts a run
compares its output with the model's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from isometry.nn.blocks.blocks import Block
from isometry.nn.tape import Vertex, vertex_of

_IN_PLACE = {f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "pow")} | {"__setitem__"}


Place = tuple[int, int]
"""Which call of the pass, and which of its results; the input is (-1, 0).

A number is not enough: an operation in place gives a tensor another value under its number.
"""


@dataclass(frozen=True)
class Numbered:
    """Stands for a tensor of the pass among the arguments of a call."""

    number: int


@dataclass(frozen=True)
class FunctionCall:
    """One torch function of the pass; tensors of the pass are numbered, the others are kept."""

    function: Callable
    args: Sequence
    kwargs: dict
    results: tuple[int | None, ...]
    in_place: bool
    aside: bool
    """Whether it is computed from parameters alone, as a modulation that later blocks share."""


@dataclass(frozen=True)
class Span:
    """Where a block begins and where it ends; None where that is not seen."""

    source: Place | None
    target: Place | None


@dataclass(frozen=True)
class RecordedPass:
    """The calls that depend on the input or on a parameter; number 0 is the input."""

    calls: tuple[FunctionCall, ...]
    parameters: Mapping[str, int]
    spans: tuple[Span, ...]
    output: int | None
    complete: bool
    """Whether no call took a tensor that an unseen operation computed from the input."""

    @property
    def followed(self) -> bool:
        """Whether the pass can be run again and all blocks are seen in it."""
        places = [place for span in self.spans for place in (span.source, span.target)]
        return self.complete and None not in (self.output, *places)


class Recorder(TorchFunctionMode):
    """Record the torch functions that a model calls on its input and its parameters."""

    def __init__(self, start: Tensor, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._tensors: list[Tensor] = []  # kept alive, since they are known by identity
        self._numbers: dict[int, int] = {}
        self._first: dict[Vertex, Place] = {}
        self._calls: list[FunctionCall] = []
        self._complete = True
        self._data = {0}
        self._number(start, (-1, 0))
        self._parameters = {name: self._number(p) for name, p in parameters.items()}

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Call the function and, where it depends on the input or a parameter, note it."""
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        known = [id(leaf) in self._numbers for leaf in inputs]
        noted = self._noted(args), self._noted(kwargs)
        out = func(*args, **kwargs)
        in_place = _in_place(func)
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if any(known) and (in_place or results):
            unseen = (t.requires_grad for t, k in zip(inputs, known, strict=True) if not k)
            self._complete = self._complete and not any(unseen)
            numbers = tuple(
                self._number(leaf, (len(self._calls), position))
                if isinstance(leaf, Tensor)
                else None
                for position, leaf in enumerate(tree_leaves(out))
            )
            aside = not any(self._numbers.get(id(leaf)) in self._data for leaf in inputs)
            if not aside:
                written = [self._numbers.get(id(args[0]))] if in_place else []
                self._data.update(n for n in (*numbers, *written) if n is not None)
            self._calls.append(FunctionCall(func, *noted, numbers, in_place, aside))
        return out

    def recorded(self, output: Tensor, blocks: Sequence[Block]) -> RecordedPass:
        """Return the pass, with the places of the blocks in it."""
        ends = [(b.segment.source, b.segment.target) for b in blocks]
        spans = tuple(Span(self._first.get(s), self._first.get(t)) for s, t in ends)
        last = self._numbers.get(id(output))
        return RecordedPass(tuple(self._calls), self._parameters, spans, last, self._complete)

    def _noted(self, tree: Any) -> Any:
        numbers = self._numbers
        return tree_map(lambda x: Numbered(numbers[id(x)]) if id(x) in numbers else x, tree)

    def _number(self, tensor: Tensor, place: Place | None = None) -> int:
        number = self._numbers.setdefault(id(tensor), len(self._tensors))
        if number == len(self._tensors):
            self._tensors.append(tensor)
        vertex = vertex_of(tensor) if tensor.grad_fn is not None else None
        if vertex is not None and place is not None:
            self._first.setdefault(vertex, place)
        return number


@dataclass(frozen=True)
class Met:
    """A block where a run has come to its end."""

    index: int
    source: Vertex
    target: Vertex
    input: Tensor
    output: Tensor

    @property
    def size(self) -> float:
        """Norm of the block's input."""
        return float(self.input.norm())


class LostError(RuntimeError):
    """The run is not connected as the recorded pass was."""


class Replay:
    """One run of a recorded pass: an iterator over the blocks that it meets."""

    def __init__(
        self, recorded: RecordedPass, start: Tensor, parameters: Mapping[str, Tensor]
    ) -> None:
        self._recorded = recorded
        self._values: dict[int, Tensor] = {0: start}
        self._values |= {n: parameters[name] for name, n in recorded.parameters.items()}
        self._undo: list[tuple[int, Tensor | None]] = []
        """Of the calls since the block began: which, and what its first argument was before.

        Earlier ones that are computed from parameters alone are among them.
        """
        self._end = 0

    @property
    def output(self) -> Tensor:
        """The output of the run, once it has ended."""
        return self._values[self._recorded.output or 0].detach()

    def __iter__(self) -> Iterator[Met]:
        """Run the pass and stop where a block ends.

        Raises:
            LostError: If a block is not connected as it was.
        """
        spans = self._recorded.spans
        ends = {span.target: index for index, span in enumerate(spans)}
        starts = {span.source for span in spans}
        begun: dict[Place | None, tuple[Vertex, Tensor]] = {}
        for call in range(-1, len(self._recorded.calls)):
            for position, number in enumerate([0] if call < 0 else self._call(call)):
                place = call, position
                if place in ends and number is not None:
                    self._end = number
                    yield self._met(ends[place], begun.get(spans[ends[place]].source))
                if place in starts and number is not None:
                    value = self._values[number]
                    begun[place] = self._vertex(value), value.detach().clone()
                    self._undo = [u for u in self._undo if self._recorded.calls[u[0]].aside]

    def change(self, new: Mapping[str, Tensor]) -> None:
        """Put other parameters in place, and the output that the last block met has with them."""
        numbers = self._recorded.parameters
        fresh = {numbers[name]: value for name, value in new.items()}
        with torch.no_grad():
            self._again(fresh)
        if self._end in fresh:
            self._values[self._end].data.copy_(fresh[self._end])
        self._values |= {numbers[name]: value for name, value in new.items()}

    def current(self, name: str) -> Tensor:
        """Return what the run holds for a parameter now."""
        return self._values[self._recorded.parameters[name]].detach()

    def outcome(self, new: Mapping[str, Tensor]) -> Tensor:
        """Return the output of the last block with other parameters, which are not put in place.

        It is a function of the block's input, and of the parameters where gradients are on.
        """
        numbers = self._recorded.parameters
        fresh = {numbers[name]: value for name, value in new.items()}
        self._again(fresh)
        return fresh.get(self._end, self._values[self._end])

    def _met(self, index: int, begun: tuple[Vertex, Tensor] | None) -> Met:
        if begun is None:
            raise LostError
        output = self._values[self._end]
        return Met(index, begun[0], self._vertex(output), begun[1], output.detach())

    def _vertex(self, value: Tensor) -> Vertex:
        vertex = vertex_of(value)
        if vertex is None:
            raise LostError
        return vertex

    def _call(self, index: int) -> tuple[int | None, ...]:
        """Call one function and return the numbers of its results."""
        call = self._recorded.calls[index]
        args, kwargs = _filled((call.args, call.kwargs), self._values)
        self._undo.append((index, args[0].clone() if call.in_place else None))
        _assign(call, _called(call, args, kwargs), self._values)
        return call.results

    def _again(self, fresh: dict[int, Tensor]) -> None:
        """Call again what depends on fresh tensors; all that is new is added to them."""
        for index, before in self._undo:
            call = self._recorded.calls[index]
            used = {n.number for n in tree_leaves((call.args, call.kwargs)) if _is_number(n)}
            if not used & fresh.keys():
                continue
            args, kwargs = _filled((call.args, call.kwargs), self._values | fresh)
            first = call.args[0].number if call.in_place and _is_number(call.args[0]) else None
            if before is not None and first not in fresh:
                args = (before.clone(), *args[1:])
            _assign(call, _called(call, args, kwargs), fresh)
            if first is not None:
                fresh[first] = args[0]


def _called(call: FunctionCall, args: Sequence, kwargs: dict) -> Any:
    """Call a function.

    Raises:
        LostError: If it cannot be called outside the context that it was recorded in (vmap, say).
    """
    try:
        return call.function(*args, **kwargs)
    except Exception as error:
        raise LostError from error


def _filled(tree: Any, values: Mapping[int, Tensor]) -> Any:
    return tree_map(lambda leaf: values[leaf.number] if _is_number(leaf) else leaf, tree)


def _assign(call: FunctionCall, out: object, values: dict[int, Tensor]) -> None:
    """Put the results of a call under their numbers.

    Raises:
        LostError: If the function returns another structure than it did.
    """
    leaves = tree_leaves(out)
    if len(leaves) != len(call.results):
        raise LostError
    values.update((n, v) for n, v in zip(call.results, leaves, strict=True) if n is not None)


def _is_number(leaf: object) -> bool:
    return isinstance(leaf, Numbered)


def _in_place(func: Callable) -> bool:
    name = func.__name__
    return name in _IN_PLACE or (name.endswith("_") and not name.startswith("__"))
