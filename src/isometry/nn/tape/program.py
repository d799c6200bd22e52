"""Straight-line programs of linear maps: simplified once, run many times, transposed exactly."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from isometry.nn.tape.maps import Diagonal, Identity, LinearMap, Scale

Watch = Callable[[int, Tensor], None]
"""Called with a node and its value while a program runs."""


class Edge(NamedTuple):
    """One summand of a node's value: ``map`` applied to the value of ``source``."""

    source: int
    target: int
    map: LinearMap


@dataclass(frozen=True)
class Step:
    """Compute one node: ``head`` makes or takes over the buffer, ``rest`` is added to it."""

    target: int
    head: Edge
    rest: Sequence[Edge]
    overwrites: bool  # the head may write into its source's buffer
    owned: bool  # the result is a buffer that nothing else reads
    released: Sequence[int]  # nodes that no later step reads


@dataclass(frozen=True)
class Program:
    """The linear map from node ``start`` to node ``stop`` as a sum over the paths between them."""

    start: int
    stop: int
    edges: Sequence[Edge]  # grouped by target, in an order in which sources come first
    steps: Sequence[Step]

    @classmethod
    def of(cls, start: int, stop: int, edges: Iterable[Edge]) -> "Program":
        """Plan a program from edges whose targets are in computing order."""
        live = _live(start, stop, list(edges))
        return cls(start, stop, live, _plan(start, stop, live))

    @property
    def transpose(self) -> "Program":
        """Return the program of the transposed map."""
        groups: dict[int, list[Edge]] = defaultdict(list)
        for source, target, linear in self.edges:
            groups[source].append(Edge(target, source, linear.transpose))
        order = [self.start, *dict.fromkeys(edge.target for edge in self.edges)]
        reversed_edges = [edge for node in reversed(order) for edge in groups[node]]
        return Program.of(self.stop, self.start, reversed_edges)

    def run(self, v: Tensor, watch: Watch | None = None) -> Tensor | None:
        """Apply the map to a stack of tangents; None where the map is zero.

        ``watch`` is shown every node with its value, before later steps write to it.
        """
        values: dict[int, Tensor] = {self.start: v}
        if watch is not None:
            watch(self.start, v)
        for step in self.steps:
            values[step.target] = _execute(step, values)
            if watch is not None:
                watch(step.target, values[step.target])
            for node in step.released:
                del values[node]
        return values.get(self.stop)

    def fitted(self, v: Tensor) -> tuple[list[Edge], Tensor | None]:
        """Return the edges with constants laid out as the tangents of ``v`` are, and its image."""
        values: dict[int, Tensor] = {self.start: v}
        edges: list[Edge] = []
        for step in self.steps:
            group = [
                e._replace(map=e.map.fitted(values[e.source])) for e in [step.head, *step.rest]
            ]
            edges.extend(group)
            values[step.target] = _execute(replace(step, overwrites=False), values)
            for node in step.released:
                del values[node]
        return edges, values.get(self.stop)


def _execute(step: Step, values: dict[int, Tensor]) -> Tensor:
    source, _, linear = step.head
    total = linear.apply_(values[source]) if step.overwrites else linear.apply(values[source])
    rest = step.rest
    if rest and not (step.owned or step.overwrites):
        source, _, linear = rest[0]
        total = total + linear.apply(values[source])
        rest = rest[1:]
    for source, _, linear in rest:
        total = linear.add_to(total, values[source])
    return total


def _live(start: int, stop: int, edges: list[Edge]) -> list[Edge]:
    """Keep the edges on paths from ``start`` to ``stop``."""
    reached, needed = {start}, {stop}
    for edge in edges:
        if edge.source in reached:
            reached.add(edge.target)
    for edge in reversed(edges):
        if edge.target in needed:
            needed.add(edge.source)
    return [e for e in edges if e.source in reached and e.target in needed]


def _grouped(edges: Iterable[Edge]) -> dict[int, list[Edge]]:
    groups: dict[int, list[Edge]] = {}
    for edge in edges:
        groups.setdefault(edge.target, []).append(edge)
    return groups


def _plan(start: int, stop: int, edges: list[Edge]) -> list[Step]:
    """Order each node's summands so that buffers are reused; note when values can go."""
    groups = _grouped(edges)
    buffer = {start: start}  # the node that first owned the memory a node's value may live in
    for target, group in groups.items():
        alone = len(group) == 1 and group[0].map.aliases
        buffer[target] = buffer[group[0].source] if alone else target
    last_read: dict[int, int] = {}
    last_use: dict[int, int] = {}
    for i, group in enumerate(groups.values()):
        for edge in group:
            last_read[edge.source] = i
            last_use[buffer[edge.source]] = i
    last_read.pop(stop, None)
    released: dict[int, list[int]] = defaultdict(list)
    for node, i in last_read.items():
        released[i].append(node)
    shared = [buffer[edge.source] for edge in edges if edge.map.overlaps]
    last_use.update(dict.fromkeys([start, buffer.get(stop, stop), *shared], len(groups)))
    return [
        _step(i, group, buffer, last_use, released[i]) for i, group in enumerate(groups.values())
    ]


def _step(
    i: int,
    group: list[Edge],
    buffer: dict[int, int],
    last_use: dict[int, int],
    released: list[int],
) -> Step:
    """Choose the summand that starts a node's sum: a dying buffer, else a fresh one."""
    homes = [buffer[edge.source] for edge in group]
    owned = [
        edge
        for edge, home in zip(group, homes, strict=True)
        if edge.map.in_place and last_use[home] == i and homes.count(home) == 1
    ]
    fresh = [edge for edge in group if not edge.map.aliases and not edge.map.in_place]
    products = [edge for edge in group if not edge.map.aliases]
    head = [*owned, *fresh, *products, *group][0]
    rest = [edge for edge in group if edge is not head]
    return Step(group[0].target, head, rest, bool(owned), not head.map.aliases, released)


def simplified(start: int, stop: int, edges: Iterable[Edge], kept: Set[int]) -> list[Edge]:
    """Merge parallel pointwise edges and splice out nodes, not ``kept``, that only rescale."""
    groups = _grouped(_live(start, stop, list(edges)))
    readers: dict[int, list[LinearMap]] = defaultdict(list)
    for group in groups.values():
        for edge in group:
            readers[edge.source].append(edge.map)
    spliced: dict[int, Edge] = {}
    rest: list[Edge] = []
    for target, group in groups.items():
        merged = _merged([_joined(spliced.get(e.source), e) for e in group])
        one = merged[0] if len(merged) == 1 and target not in kept else None
        if (one and (_pointwise(one.map) and all(map(_pointwise, readers[target])))) or (
            one and isinstance(one.map, Identity)
        ):
            spliced[target] = one
        else:
            rest.extend(merged)
    return rest


def _pointwise(linear: LinearMap) -> bool:
    return isinstance(linear, (Identity, Scale, Diagonal))


def _joined(first: Edge | None, then: Edge) -> Edge:
    """Follow a spliced edge by the one that read its target."""
    if first is None:
        return then
    if isinstance(first.map, Identity):
        return Edge(first.source, then.target, then.map)
    if isinstance(then.map, Identity):
        return Edge(first.source, then.target, first.map)
    return Edge(first.source, then.target, _of(_factor(first.map) * _factor(then.map)))


def _factor(linear: LinearMap) -> Tensor | float:
    if isinstance(linear, Diagonal):
        return linear.d
    return linear.factor if isinstance(linear, Scale) else 1.0


def _of(factor: Tensor | float) -> LinearMap:
    return Diagonal(factor) if isinstance(factor, Tensor) else Scale(factor)


def _merged(group: list[Edge]) -> list[Edge]:
    """Add up the pointwise edges that come from the same source."""
    totals: dict[int, Edge] = {}
    others: list[Edge] = []
    for edge in group:
        if not _pointwise(edge.map):
            others.append(edge)
        elif edge.source in totals:
            total = _factor(totals[edge.source].map) + _factor(edge.map)
            totals[edge.source] = edge._replace(map=_of(total))
        else:
            totals[edge.source] = edge
    return [*totals.values(), *others]
