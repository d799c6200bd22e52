"""The parameters of a residual branch: what each one does, and which come last."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from isometry.nn.blocks.graph import (
    ISOMETRIES,
    PRODUCT,
    SCALED,
    Graph,
    LinearPart,
    Vertex,
    linear_part,
    operation,
    role,
)
from isometry.nn.blocks.recording import Recording
from isometry.nn.blocks.skips import shortest_linear_ways

STOP = ("linear", "reparametrised", "norm")
_GATES = ("Sigmoid", "Softmax", "Hardsigmoid")


@dataclass(frozen=True)
class Branch:
    """What a block adds to its skip, and where in the pass it is.

    Attributes:
        part: Its terms.
        sources: What the block starts from.
        target: What it ends in.
        inside: The tensors between, the target included, in order.
    """

    part: LinearPart
    sources: tuple[Vertex, ...]
    target: Vertex
    inside: tuple[Vertex, ...]

    @classmethod
    def between(cls, graph: Graph, part: LinearPart, source: Vertex, target: Vertex) -> "Branch":
        """Return the branch of a stretch of the stream."""
        return cls(part, (source,), target, tuple(graph.between(source, target)))

    @classmethod
    def of_exit(cls, graph: Graph, exit_: Vertex, inside: tuple[Vertex, ...]) -> "Branch":
        """Return the branch that ends in one tensor, from whatever tensors it starts.

        Its terms are those that nothing linear takes the start to; of linear ones the longest.
        """
        known = set(inside)
        sources = dict.fromkeys(v for u in inside for _, v in graph.inputs(u) if v not in known)
        first = next(iter(sources))
        part = linear_part(graph, first, exit_, like=exit_, inside=inside)
        ways = shortest_linear_ways(graph, sources, known)
        shortest = min((ways[v] for v in part.heads if v in ways), default=0)
        own = [v for v in part.heads if ways.get(v, shortest + 1) > shortest] or part.heads
        members = graph.ancestors(own, known)
        sums = tuple(v for v in part.sums if graph.ancestors([v], known) & members)
        return cls(LinearPart(None, tuple(own), sums), tuple(sources), exit_, inside)

    def vertices(self, graph: Graph) -> list[Vertex]:
        """Return the tensors of the branch, without the skip's own, from the output backwards."""
        members = graph.ancestors(self.part.heads, set(self.inside)) | set(self.part.sums)
        return sorted(members, key=graph.position.__getitem__, reverse=True)

    def last_parameters(self, recording: Recording) -> tuple[tuple[str, ...], ...]:
        """Return, for each term of the branch, the parameters that scale it, the nearest first."""
        gains: dict[Vertex, tuple[str, ...]] = {self.target: ()}
        graph, part, members = recording.graph, self.part, set(self.vertices(recording.graph))
        linear = {*self.sources, *self.inside} - set(part.heads)
        for vertex in part.sums:
            # what scales the skip along with the branch does not change the one beside the other
            alone = not graph.ancestors([vertex], linear) & set(self.sources)
            own = _names(recording, vertex, ("gain",)) if alone else ()
            above = gains.get(vertex, ()) + own
            for _, v in recording.graph.inputs(vertex):
                gains.setdefault(v, above)
        return tuple(
            tuple(dict.fromkeys(gains.get(head, ()) + _walk_back(recording, head, members)))
            for head in part.heads
        )


def parameter_roles(recording: Recording, vertices: Iterable[Vertex]) -> dict[str, str]:
    """Return {name: role} of the parameters used at these tensors, in their order."""
    roles: dict[str, str] = {}
    for vertex in vertices:
        for name, what in _own(recording, vertex):
            roles.setdefault(name, what)
    return roles


def _walk_back(recording: Recording, head: Vertex, members: set[Vertex]) -> tuple[str, ...]:
    found: list[str] = []
    seen, todo = {head}, [head]
    while todo:
        vertex = max(todo, key=recording.graph.position.__getitem__)
        todo.remove(vertex)
        found.extend(_names(recording, vertex, (*STOP, "gain")))
        if _names(recording, vertex, STOP):
            continue
        nearer = _scalable(recording, vertex, members) - seen
        seen |= nearer
        todo.extend(nearer)
    return tuple(found)


def _scalable(recording: Recording, vertex: Vertex, members: set[Vertex]) -> set[Vertex]:
    """Return the arguments to look at: of a product those that a parameter scales, if some do.

    A gate, as a sigmoid of a linear map, is not scaled by its weight; something else comes first.
    """
    arguments = {v for _, v in recording.graph.inputs(vertex) if v in members}
    if operation(vertex) == PRODUCT and len(arguments) > 1:
        scaled = {v for v in arguments if _scaled(recording, v, members)}
        open_ = {v for v in arguments if not operation(v).startswith(_GATES)}
        return scaled or open_ or arguments
    return arguments


def _scaled(recording: Recording, vertex: Vertex, members: set[Vertex]) -> bool:
    """Return whether some parameter, times g, makes the tensor g times as large."""
    if _names(recording, vertex, (*STOP, "gain")):
        return True
    inside = [v for _, v in recording.graph.inputs(vertex) if v in members]
    through = operation(vertex) in ISOMETRIES + SCALED
    return through and any(_scaled(recording, v, members) for v in inside)


def _names(recording: Recording, vertex: Vertex, roles: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name, what in _own(recording, vertex) if what in roles)


def _own(recording: Recording, vertex: Vertex) -> Iterator[tuple[str, str]]:
    for index, direct, leaf in recording.graph.leaves(vertex):
        name = recording.names.get(id(leaf))
        if name is not None:
            yield name, role(vertex, index, direct)
