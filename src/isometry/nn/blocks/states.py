"""States of several tensors: where a stream cannot be cut at one, it is cut at all that are live.

Streams kept as a list and sums over the outputs of all earlier blocks leave no tensor that every
path goes through. There the state between two layers is what has been computed and is read later,
its tensors one after the other, and the Jacobian of a block is from one state to the next. Every
path meets every state exactly once, so that the product over the blocks is the whole.

A stretch is first read as statements: a tensor that is read in several places, and all that flows
into it alone. A statement with a weight matrix is a branch, unless it only multiplies others, as
the coefficients of a mixture do. Branches of which none reads another's result are one block.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod

from isometry.nn.blocks.earlier import is_multiple, is_sum
from isometry.nn.blocks.graph import (
    PRODUCTS,
    Graph,
    Vertex,
    linear_part,
    operation,
    role,
    shape_of,
)
from isometry.nn.blocks.skips import shortest_linear_ways

State = tuple[Vertex, ...]
"""The tensors that are live at a cut, in the order in which they were computed."""

_WEIGHTS = ("linear", "reparametrised")
_JOINS = ("Stack", "Cat")
_FEWEST = 2
"""Branches one after the other from which on a stretch is cut at states."""


@dataclass(frozen=True)
class StateBlock:
    """A stretch of the pass between two states, with the branches in it.

    Attributes:
        source: The state before it.
        target: The state after it.
        branches: What each branch ends in, and all that flows into that alone, in order.
    """

    source: State
    target: State
    branches: tuple[tuple[Vertex, tuple[Vertex, ...]], ...]


def state_blocks(graph: Graph, source: Vertex, target: Vertex) -> list[StateBlock]:
    """Return the blocks between two neighbouring cuts; none where fewer than two follow.

    Each has to pass something on: a state, or a sum or mixture of what it is of.

    Streams that keep their layout end as they are, before one tensor is read off them; what grows
    from block to block ends in what is read off it.
    """
    stretch = _Stretch(graph, source, target)
    return stretch.blocks() if len(stretch.tree.children) > 1 else []


def opening(graph: Graph, start: Vertex) -> State:
    """Return the state at a tensor: it, and what was computed before and is read elsewhere."""
    known = graph.ancestors([start], set(graph.order))
    read = {
        v
        for reader in graph.order
        if reader not in known
        for index, v in graph.inputs(reader)
        if v in known and (reader, index) not in graph.vanishing
    }
    return tuple(v for v in graph.order if v in read or v == start)


def readout(cuts: Sequence[Vertex], source: Vertex, target: Vertex) -> Vertex:
    """Return where one tensor of the first one's size is read off a stack; else the target."""
    size = prod(shape_of(source))
    for after in cuts[cuts.index(target) :]:
        if prod(shape_of(after)) == size:
            return after
        if prod(shape_of(after)) < size:
            break
    return target


class _Tree:
    """Which tensor all that is computed from another one flows into next: post-dominators."""

    def __init__(self, stretch: Sequence[Vertex], readers: Mapping[Vertex, list[Vertex]]) -> None:
        self.parent = {stretch[-1]: stretch[-1]}
        self._depth = {stretch[-1]: 0}
        for vertex in reversed(stretch[:-1]):
            first, *rest = readers[vertex]
            for other in rest:
                first = self._common(first, other)
            self.parent[vertex], self._depth[vertex] = first, self._depth[first] + 1
        self.children = [v for v in stretch[:-1] if self.parent[v] == stretch[-1]]

    def _common(self, one: Vertex, other: Vertex) -> Vertex:
        while one != other:
            if self._depth[one] < self._depth[other]:
                one, other = other, one
            one = self.parent[one]
        return one

    def flows(self, vertex: Vertex, into: Vertex) -> bool:
        """Return whether all that a tensor is read for ends in another one."""
        while self._depth[vertex] > self._depth[into]:
            vertex = self.parent[vertex]
        return vertex == into


class _Stretch:
    """The tensors between two neighbouring cuts, as statements in the order of computation."""

    def __init__(self, graph: Graph, source: Vertex, target: Vertex) -> None:
        self._graph, self._source, self._target = graph, source, target
        self._order = _in_time(graph, [source, *graph.between(source, target)])
        self._known = set(self._order)
        self._readers: dict[Vertex, list[Vertex]] = defaultdict(list)
        for vertex in self._order[1:]:
            for v in dict.fromkeys(v for _, v in graph.inputs(vertex)):
                if v in self._known:
                    self._readers[v].append(vertex)
        self.tree = _Tree(self._order, self._readers)

    @cached_property
    def _exits(self) -> list[Vertex]:
        """What the statements end in, in the order of computation; the source is none.

        What is no branch and is read in one statement alone is a part of that.
        """
        found = self._read_in_several_places()
        while True:
            exits = [v for v in self._order if v in found]
            place = self._placed(exits)
            inside = self._gathered(place, len(exits))
            parts = {
                v
                for i, v in enumerate(exits[:-1])
                if len({place[r] for r in self._readers[v]}) == 1
                and not self._is_branch(v, inside[i])
            }
            if not parts:
                return exits
            found -= parts

    def _read_in_several_places(self) -> set[Vertex]:
        found = {v for v in self.tree.children if v != self._source} | {self._target}
        todo = list(found)
        while todo:
            exit_ = todo.pop()
            start = self._skipped_from(exit_)
            if start is not None and start not in found:
                found.add(start)
                todo.append(start)
        return found

    def _skipped_from(self, exit_: Vertex) -> Vertex | None:
        """Return the one tensor that sums and multiples show below another and a branch reads."""
        found, todo = set(), [exit_]
        while todo:
            vertex = todo.pop()
            if not self._is_weightless(vertex):
                continue
            for _, v in self._graph.inputs(vertex):
                fork = v == self._source or len(self._readers[v]) > 1
                (found.add if fork else todo.append)(v)
        if len(found) != 1 or self._source in found:
            return None
        (start,) = found
        return start if self.tree.flows(start, exit_) else None

    def _is_weightless(self, vertex: Vertex) -> bool:
        return is_sum(self._graph, vertex) or is_multiple(self._graph, vertex)

    def _placed(self, exits: Sequence[Vertex]) -> dict[Vertex, int]:
        """Return the statement that every tensor belongs to; -1 for the source."""
        places = {v: place for place, v in enumerate(exits)}
        found = {self._target: len(exits) - 1, self._source: -1}
        for vertex in reversed(self._order[1:-1]):
            found[vertex] = places.get(vertex, found[self.tree.parent[vertex]])
        return found

    def _gathered(self, place: Mapping[Vertex, int], count: int) -> list[list[Vertex]]:
        inside: list[list[Vertex]] = [[] for _ in range(count)]
        for vertex in self._order[1:]:
            inside[place[vertex]].append(vertex)
        return inside

    @cached_property
    def _place(self) -> dict[Vertex, int]:
        return self._placed(self._exits)

    @cached_property
    def _inside(self) -> list[list[Vertex]]:
        return self._gathered(self._place, len(self._exits))

    def blocks(self) -> list[StateBlock]:
        """Return the blocks, in order."""
        groups = self._groups()
        if len(groups) < _FEWEST:
            return []
        states = [(self._source,), *self._between(groups)]
        states.append(self._last(states))
        if not all(self._is_kept(*ends) for ends in pairwise(states)):
            return []
        return [
            StateBlock(*ends, tuple((self._exits[p], tuple(self._inside[p])) for p in group))
            for group, ends in zip(groups, pairwise(states), strict=True)
        ]

    def _is_kept(self, before: State, after: State) -> bool:
        """Return whether something of a state is passed on as it is, or linearly."""
        ways = shortest_linear_ways(self._graph, before, self._known - set(before))
        return any(v in ways for v in after)

    def _between(self, groups: list[list[int]]) -> list[State]:
        """Return the states between the branches: of one layout where one is met everywhere.

        Else, and of several such layouts, it is the smallest, and of those the last.
        """
        gaps = [
            [self._live(place) for place in range(first[-1], second[0])]
            for first, second in pairwise(groups)
        ]
        met = [{_layout(state) for state in gap} for gap in gaps]
        common = set.intersection(*met) if len(gaps) > 1 else set()
        chosen = [[s for s in gap if _layout(s) in common] or gap for gap in gaps]
        return [min(reversed(gap), key=_entries) for gap in chosen]

    def _groups(self) -> list[list[int]]:
        """Return the branches, those together of which none reads another's result."""
        groups: list[list[int]] = []
        above: set[Vertex] = set()
        for place, exit_ in enumerate(self._exits):
            if not self._is_branch(exit_, self._inside[place]):
                continue
            if groups and not above & self._graph.ancestors([exit_], self._known):
                groups[-1].append(place)
            else:
                groups.append([place])
                above = set()
            above.add(exit_)
        return groups

    def _is_branch(self, exit_: Vertex, inside: list[Vertex]) -> bool:
        return any(self._added(exit_, inside)) and not self._only_multiplies(exit_)

    def _added(self, exit_: Vertex, order: list[Vertex]) -> Iterator[bool]:
        """Yield for each term whether it is a map with weights, and no mixture of what is there."""
        graph, inside = self._graph, set(order)
        sources = [v for u in inside for _, v in graph.inputs(u) if v not in inside]
        ways = shortest_linear_ways(graph, sources, inside)
        for head in linear_part(graph, sources[0], exit_, like=exit_, inside=order).heads:
            above = graph.ancestors([head], inside)
            read_off = prod(shape_of(head)) < max(prod(shape_of(v)) for v in sources)
            mixture = head in ways and (read_off or self._mixes(head, above))
            yield self._has_weights(above) and not mixture

    def _mixes(self, product: Vertex, above: set[Vertex]) -> bool:
        """Return whether a linear term is of a stack of tensors, or one times a coefficient."""
        sizes = {prod(shape_of(v)) for _, v in self._graph.inputs(product)}
        stacked = any(operation(v) in _JOINS for v in above)
        return stacked or (operation(product) in PRODUCTS and len(sizes) > 1)

    def _has_weights(self, vertices: Iterable[Vertex]) -> bool:
        return any(
            role(v, index, direct) in _WEIGHTS
            for v in vertices
            for index, direct, _ in self._graph.leaves(v)
        )

    def _only_multiplies(self, exit_: Vertex) -> bool:
        """Return whether a tensor is a coefficient: a factor of others, no smaller, alone."""
        uses = list(self._uses(exit_))
        return bool(uses) and all(uses)

    def _uses(self, vertex: Vertex) -> Iterator[bool]:
        for reader in self._readers[vertex]:
            others = [v for _, v in self._graph.inputs(reader) if v != vertex]
            if operation(reader) in PRODUCTS and others:
                yield prod(shape_of(vertex)) <= max(prod(shape_of(v)) for v in others)
            elif not others and reader != self._target and not self._has_weights([reader]):
                yield from self._uses(reader)
            else:
                yield False

    def _live(self, place: int) -> State:
        """Return what statements up to a place computed, or the source, and later ones read."""
        exits = [self._source, *self._exits[: place + 1]]
        return tuple(v for v in exits if max(self._place[r] for r in self._readers[v]) > place)

    def _last(self, states: Sequence[State]) -> State:
        """Return the state at the end: as the streams were before, where they keep their layout."""
        layout = _layout(states[-1])
        if len(states) <= _FEWEST or len(states[-1]) < _FEWEST or _layout(states[-2]) != layout:
            return (self._target,)
        time = {v: i for i, v in enumerate(self._order)}
        weighty = [v for v in self._order[1:] if self._has_weights([v])]
        for now in range(time[weighty[-1]], len(self._order) - 1):
            past = self._order[: now + 1]
            live = tuple(v for v in past if time[self._readers[v][-1]] > now)
            if _layout(live) == layout:
                return live
        return (self._target,)


def _entries(state: State) -> int:
    return sum(prod(shape_of(v)) for v in state)


def _layout(state: Iterable[Vertex]) -> tuple[tuple[int, ...], ...]:
    return tuple(sorted(shape_of(v) for v in state))


def _in_time(graph: Graph, stretch: list[Vertex]) -> list[Vertex]:
    """Return tensors in the order in which they were computed, as autograd numbers it."""
    numbered = sorted(stretch[1:-1], key=lambda v: (v[0]._sequence_nr(), v[1]))
    order = [stretch[0], *numbered, stretch[-1]]
    place = {v: i for i, v in enumerate(order)}
    right = all(place[v] < i for i, u in enumerate(order) for _, v in graph.inputs(u) if v in place)
    return order if right else stretch
