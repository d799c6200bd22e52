"""The parameters of a residual branch: what each one does, and which come last."""

from collections.abc import Iterable, Iterator

from isometry.nn.blocks.graph import (
    ISOMETRIES,
    PRODUCT,
    SCALED,
    Graph,
    LinearPart,
    Vertex,
    operation,
    role,
)
from isometry.nn.blocks.recording import Recording

STOP = ("linear", "reparametrised", "norm")


def branch_vertices(graph: Graph, part: LinearPart, source: Vertex, target: Vertex) -> list[Vertex]:
    """Return the tensors of the branch, without the skip's own, from the output backwards."""
    inside = set(graph.between(source, target))
    members = graph.ancestors(part.heads, inside) | set(part.sums)
    return sorted(members, key=graph.position.__getitem__, reverse=True)


def parameter_roles(recording: Recording, vertices: Iterable[Vertex]) -> dict[str, str]:
    """Return {name: role} of the parameters used at these tensors, in their order."""
    roles: dict[str, str] = {}
    for vertex in vertices:
        for name, what in _own(recording, vertex):
            roles.setdefault(name, what)
    return roles


def last_parameters(
    recording: Recording, part: LinearPart, members: set[Vertex], source: Vertex, target: Vertex
) -> tuple[tuple[str, ...], ...]:
    """Return, for each term of the branch, the parameters that scale it, the nearest first."""
    gains: dict[Vertex, tuple[str, ...]] = {target: ()}
    graph = recording.graph
    linear = {source, *graph.between(source, target)} - set(part.heads)
    for vertex in part.sums:
        # what scales the skip along with the branch does not change the one beside the other
        alone = source not in graph.ancestors([vertex], linear)
        own = _names(recording, vertex, ("gain",)) if alone else ()
        above = gains.get(vertex, ()) + own
        for _, v in recording.graph.inputs(vertex):
            gains.setdefault(v, above)
    return tuple(
        tuple(dict.fromkeys(gains.get(head, ()) + _walk_back(recording, head, members)))
        for head in part.heads
    )


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

    A gate, as a sigmoid of a linear map, is not scaled by its weight.
    """
    arguments = {v for _, v in recording.graph.inputs(vertex) if v in members}
    if operation(vertex) == PRODUCT and len(arguments) > 1:
        return {v for v in arguments if _scaled(recording, v, members)} or arguments
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
