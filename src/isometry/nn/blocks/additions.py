"""Residual additions that are no block: what a list of blocks leaves out, and why.

A sum of two tensors that both depend on the input is residual where one side is computed from the
other, or where one side is only a linear map of what the other starts from (the shortcut of a
block that changes its width).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isometry._result import Result
from isometry.nn.blocks.graph import ISOMETRIES, Graph, Vertex, factor, operation, role, shape_of
from isometry.nn.blocks.pieces import Piece, given_pieces
from isometry.nn.blocks.recording import Recording

_SHORTCUT = ("Addmm", "Mm", "Convolution", "AvgPool", "MaxPool", "Constant", "Slice", "Cat")
_SHORTCUT += ("Native", "Add", *ISOMETRIES)
"""How operations of a shortcut begin: linear maps, pools, padding, norms."""


@dataclass(frozen=True)
class LeftAddition(Result):
    """A residual addition that is no block.

    Attributes:
        name: The innermost module around it; empty where there is none.
        reason: Why it is no block.
        blocks: What to add to ``blocks=`` to take it; None where no name does.
        zero: Names of the weights in that module that are all 0, and stay.
    """

    name: str
    reason: str
    blocks: str | None
    zero: tuple[str, ...]

    def __str__(self) -> str:
        where = f"`{self.name}`" if self.name else "an addition outside any module"
        way = f"; `blocks=[..., {self.blocks!r}]` takes it" if self.blocks else ""
        zero = f"; {', '.join(f'`{name}`' for name in self.zero)} at 0 stays" if self.zero else ""
        return f"{where}: {self.reason}{way}{zero}"


def left_additions(
    recording: Recording, cuts: list[Vertex], pieces: Sequence[Piece]
) -> tuple[LeftAddition, ...]:
    """Return the residual additions that are in none of the pieces, from the input on."""
    graph, place = recording.graph, recording.graph.position
    inside = {v for p in pieces for v in graph.order[place[p.source] + 1 : place[p.target] + 1]}
    inside |= {v for p in pieces for v in graph.order[place[p.start] + 1 : place[p.end] + 1]}
    found = []
    for target in graph.order[1:]:
        if target in inside:
            continue
        kind = residual_kind(recording, target)
        if kind is not None:
            found.append(_described(recording, cuts, target, kind))
    return tuple(found)


def residual_kind(
    recording: Recording, target: Vertex, among: set[Vertex] | None = None
) -> str | None:
    """Return "skip" or "shortcut" for a residual sum, None for another.

    Paths are followed ``among`` these tensors, by default all.
    """
    if operation(target) != "Add":
        return None
    graph = recording.graph
    sides = [v for _, v in graph.inputs(target)]
    if len(sides) != 2 or any(shape_of(v) != shape_of(target) for v in sides):
        return None
    among = set(graph.order) if among is None else among
    above = [graph.ancestors([side], among) for side in sides]
    if _base(graph, sides[0]) in above[1] or _base(graph, sides[1]) in above[0]:
        return "skip"
    return "shortcut" if any(_is_shortcut(recording, *pair) for pair in _pairs(above)) else None


def _base(graph: Graph, vertex: Vertex) -> Vertex:
    """Return what a tensor is a multiple of, as far as single arguments show it."""
    inputs = graph.inputs(vertex)
    while len(inputs) == 1 and factor(graph, vertex, *inputs[0]) is not None:
        vertex = inputs[0][1]
        inputs = graph.inputs(vertex)
    return vertex


def _pairs(above: Sequence[set[Vertex]]) -> Iterator[tuple[set[Vertex], set[Vertex]]]:
    yield above[0] - above[1], above[1] - above[0]
    yield above[1] - above[0], above[0] - above[1]


def _is_shortcut(recording: Recording, own: set[Vertex], other: set[Vertex]) -> bool:
    """Return whether a side is a short linear path with a weight, and the other is longer."""
    names = [operation(v) for v in own]
    linear = all(name.startswith(_SHORTCUT) for name in names)
    maps = [v for v in own if any(what == "linear" for what in _roles(recording, v))]
    return linear and bool(maps) and len(own) < len(other)


def _roles(recording: Recording, vertex: Vertex) -> Iterator[str]:
    for index, direct, _ in recording.graph.leaves(vertex):
        yield role(vertex, index, direct)


def _described(recording: Recording, cuts: list[Vertex], target: Vertex, kind: str) -> LeftAddition:
    name, parameters = around(recording, target)
    if kind == "shortcut":
        reason = "its shortcut is a linear map, no multiple of its input"
    elif target in set(cuts):
        reason = "no parameter is in its branch"
    else:
        reason = "some paths from the input to the output go around it"
    way = name if name and kind == "skip" and _taken(recording, cuts, name) else None
    return LeftAddition(name, reason, way, parameters)


def around(recording: Recording, target: Vertex) -> tuple[str, tuple[str, ...]]:
    """Return the innermost module around an addition, and which of its weights are 0."""
    place = recording.graph.position
    calls = [
        call
        for call in recording.calls
        if call.name
        and any(v in place and place[v] < place[target] for v in call.inputs)
        and any(v in place and place[target] <= place[v] for v in call.outputs)
    ]
    if not calls:
        return "", ()
    call = max(calls, key=lambda call: call.name.count("."))
    weights = {n: p for n, p in call.module.named_parameters() if p.ndim > 1}
    zero = tuple(f"{call.name}.{n}" for n, p in weights.items() if not bool(p.any()))
    return call.name, zero


def _taken(recording: Recording, cuts: list[Vertex], name: str) -> bool:
    try:
        return bool(given_pieces(recording, cuts, [name]))
    except ValueError:
        return False
