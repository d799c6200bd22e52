"""Products with the Jacobian between any two values of one recorded pass, and its transpose.

A recorded pass is a graph of linear maps with constants evaluated at the point: a pointwise call
is a product with its derivative, a convolution a convolution. Products are replays of those maps
for all tangents at once, without a forward pass and without autograd; an op without a rule keeps
the autograd graph of that one op.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from isometry.nn.tape.maps import Embed, LinearMap, Reshape, Slice
from isometry.nn.tape.maps_dense import Local, LocalGraph
from isometry.nn.tape.program import Edge, Program, Watch, simplified
from isometry.nn.tape.recorder import Recorder
from isometry.nn.tape.rules import cast
from isometry.nn.tape.vertices import Vertex

__all__ = ["Layout", "Recorded", "Tape"]

_START, _STOP, _FIRST = -2, -3, -4
"""Nodes that no recording has: where states of several values start and stop, and in between."""
_MOST = 4
"""Maps between a value and its place in such a state, at most."""


class Layout(NamedTuple):
    """What a value looks like, without its entries."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, value: Tensor) -> "Layout":
        """Return the layout of a tensor."""
        return cls(tuple(value.shape), value.dtype, value.device)


Node = tuple[int, Layout]
"""A value of a recording, and its layout."""


@dataclass(frozen=True, eq=False)
class Tape:
    """The Jacobian of one value by an earlier one, as two straight-line programs of linear maps."""

    forward: Program
    source: Layout
    target: Layout
    ops: Sequence[tuple[str, bool]]
    external: Sequence[tuple[Tensor, int]]  # parameters kept by reference, with their version

    @cached_property
    def backward(self) -> Program:
        """The program of the transpose."""
        return self.forward.transpose

    def jvp(self, v: Tensor, watch: Watch | None = None) -> Tensor:
        """Multiply ``k`` tangents, shape ``(k, *source.shape)``, by the Jacobian.

        Raises:
            RuntimeError: If a parameter was written to since the pass was recorded.
        """
        return self._run(self.forward, v, self.target, watch)

    def vjp(self, u: Tensor, watch: Watch | None = None) -> Tensor:
        """Multiply ``k`` cotangents, shape ``(k, *target.shape)``, by the transposed Jacobian.

        Raises:
            RuntimeError: If a parameter was written to since the pass was recorded.
        """
        return self._run(self.backward, u, self.source, watch)

    @cached_property
    def route(self) -> str:
        """How products are computed, in words."""
        kept = sorted({e.map.graph.name for e in self.forward.edges if isinstance(e.map, Local)})
        kept = f", with the graph of {', '.join(kept)} kept" if kept else ""
        return f"tape: replay of recorded linear operations{kept}"

    def split(self, node: int, layout: Layout) -> tuple["Tape", "Tape"]:
        """Return the tapes up to a node that every path goes through, and from there on."""
        edges = self.forward.edges
        first = Program.of(self.forward.start, node, edges)
        then = Program.of(node, self.forward.stop, edges)
        return (
            Tape(first, self.source, layout, self.ops, self.external),
            Tape(then, layout, self.target, self.ops, self.external),
        )

    def without(self, nodes: Collection[int]) -> "Tape":
        """Return the tape of the paths that go through none of some nodes."""
        edges = [edge for edge in self.forward.edges if edge.target not in nodes]
        first = Program.of(self.forward.start, self.forward.stop, edges)
        return Tape(first, self.source, self.target, self.ops, self.external)

    def summary(self) -> dict[str, object]:
        """Return the number of ops and of replayed maps, the fallbacks, and the bytes held."""
        return {
            "ops": len(self.ops),
            "maps": len(self.forward.edges),
            "generic": dict(Counter(name for name, generic in self.ops if generic)),
            "bytes": _bytes_held(self),
        }

    def _run(self, program: Program, v: Tensor, image: Layout, watch: Watch | None) -> Tensor:
        for tensor, version in self.external:
            if tensor._version != version:
                raise RuntimeError(
                    f"a parameter of shape {tuple(tensor.shape)} was written to after the "
                    "Jacobian was taken; expected the same weights. Build the operator, or find "
                    "the blocks, anew."
                )
        with torch.no_grad(), torch.autocast(v.device.type, enabled=False):
            result = program.run(v, watch)
        if result is None:
            return torch.zeros(len(v), *image.shape, dtype=image.dtype, device=image.device)
        if result.untyped_storage().data_ptr() == v.untyped_storage().data_ptr():
            return result.clone()
        return result


class Recorded:
    """The linear maps of one pass; any two of its nodes have a program between them.

    Args:
        recorder: What followed the pass.
        start: A tangent of the input, laid out in memory as the input is.
        output: The pass's output.
        kept: Nodes that programs are to start from or end in, besides input and output.
    """

    def __init__(
        self, recorder: Recorder, start: Tensor, output: Tensor, kept: Iterable[int] = ()
    ) -> None:
        stop = recorder.node_of(output)
        self.source, self.target = Layout.of(start[0]), Layout.of(output)
        self.gap = math.inf
        """The adjoint gap, as :func:`isometry.nn.tape.settled` found it."""
        self.ops = tuple(recorder.ops)
        self.vertices: Mapping[Vertex, int] = recorder.vertices
        self.tolerance = max(torch.finfo(dtype).eps for dtype in recorder.dtypes) ** 0.5
        self.stop = -1 if stop is None else stop
        raw = [] if stop is None else simplified(0, stop, recorder.edges, {*kept, 0, stop})
        with torch.no_grad(), torch.autocast(start.device.type, enabled=False):
            self._edges, self.image = Program.of(0, self.stop, raw).fitted(start)
        self._targets = [edge.target for edge in self._edges]
        self._nodes = {0, self.stop, *kept}
        self._external = [
            (node, tensor, tensor._version)
            for node, tensor in recorder.external
            if not tensor.is_inference()
        ]

        self._places = [node for node, *_ in self._external]

    def node(self, vertex: Vertex) -> int | None:
        """Return the node of a value that autograd names, if programs can end there."""
        node = self.vertices.get(vertex)
        return node if node in self._nodes else None

    def tape(self, source: int, target: int, start: Layout, end: Layout) -> Tape:
        """Return the Jacobian of the value at ``target`` by the one at ``source``."""
        # edges are in the order of their targets: what lies between two nodes is a slice
        first, last = (bisect_right(self._targets, node) for node in (source, target))
        program = Program.of(source, target, self._edges[first:last])
        held = self._held(source, target)
        return Tape(program, start, end, self.ops, held)

    def state_tape(self, sources: Sequence[Node], targets: Sequence[Node]) -> Tape:
        """Return the Jacobian of several values by several earlier ones, each flattened.

        Args:
            sources: Values and their layouts, one after the other in the tangents. They are held
                independent of one another, also where one was computed from another.
            targets: What they lead to; some may be sources themselves.
        """
        start, end = _joined(sources), _joined(targets)
        fixed = {node for node, _ in sources}
        first = bisect_right(self._targets, min(fixed))
        last = bisect_right(self._targets, max(node for node, _ in targets))
        between = [edge for edge in self._edges[first:last] if edge.target not in fixed]
        edges = [*_parted(sources, start), *between, *_gathered(targets, end)]
        held = self._held(min(fixed), max(node for node, _ in targets))
        return Tape(Program.of(_START, _STOP, edges), start, end, self.ops, held)

    def _held(self, source: int, target: int) -> list[tuple[Tensor, int]]:
        """Return the parameters that the ops between two nodes read."""
        first, last = (bisect_right(self._places, node) for node in (source, target))
        inside = {t.untyped_storage()._cdata: (t, v) for _, t, v in self._external[first:last]}
        return list(inside.values())


def _joined(values: Sequence[Node]) -> Layout:
    """Return the layout of values flattened one after the other."""
    layouts = [layout for _, layout in values]
    dtype = layouts[0].dtype
    for layout in layouts[1:]:
        dtype = torch.promote_types(dtype, layout.dtype)
    return Layout((sum(math.prod(layout.shape) for layout in layouts),), dtype, layouts[0].device)


def _places(values: Sequence[Node]) -> Iterator[tuple[int, Layout, slice]]:
    place = 0
    for node, layout in values:
        size = math.prod(layout.shape)
        yield node, layout, slice(place, place + size)
        place += size


def _parted(values: Sequence[Node], whole: Layout) -> Iterator[Edge]:
    """Yield the edges from a start that holds all values, flattened, to each of them."""
    for number, (node, own, part) in enumerate(_places(values)):
        maps = [Slice(whole.shape, (part,)), Reshape((part.stop - part.start,), own.shape)]
        yield from _chained(_START, maps + cast(whole, own), node, 2 * number)


def _gathered(values: Sequence[Node], whole: Layout) -> list[Edge]:
    """Return the edges from values to a stop that holds them all, flattened."""
    chains: list[Edge] = []
    for number, (node, own, part) in enumerate(_places(values)):
        maps = [Reshape(own.shape, (part.stop - part.start,)), Embed(whole.shape, (part,))]
        chains += _chained(node, cast(own, whole) + maps, _STOP, 2 * number + 1)
    return sorted(chains, key=lambda edge: edge.target == _STOP)  # the sum comes last


def _chained(node: int, maps: Sequence[LinearMap], stop: int, number: int) -> Iterator[Edge]:
    """Yield the edges of maps one after the other, through nodes that no other chain has."""
    for place, linear in enumerate(maps):
        made = stop if place == len(maps) - 1 else _FIRST - _MOST * number - place
        yield Edge(node, made, linear)
        node = made


def _tensors(linear: object) -> Iterator[Tensor]:
    """Yield the constants of a map."""
    for value in vars(linear).values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, LocalGraph):
            yield from _tensors(value)


def _bytes_held(tape: Tape) -> int:
    """Return the memory of the maps' constants beside the parameters."""
    sizes = {
        constant.untyped_storage()._cdata: constant.untyped_storage().nbytes()
        for program in (tape.forward, tape.backward)
        for edge in program.edges
        for constant in _tensors(edge.map)
    }
    for parameter, _ in tape.external:
        sizes.pop(parameter.untyped_storage()._cdata, None)
    return sum(sizes.values())
