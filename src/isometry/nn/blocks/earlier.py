"""Earlier states of the residual stream that are added to it again, as in y = a x + b x0 + f(x).

Such a path goes around every block in between, so no tensor of the stream is on all paths from the
input to the output. Left out, it shows the chain of blocks; the Jacobian of the whole keeps it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

from isometry.nn.blocks.graph import ISOMETRIES, PRODUCT, Graph, Vertex, linear_part, operation

_SUMS = ("Add", "Sub", "Lerp")
_MULTIPLES = (PRODUCT, "Div", "Neg", *ISOMETRIES)
_FEWEST = 2
"""Earlier states that are added between two cuts: one alone is the skip of a larger block."""

Argument = tuple[Vertex, int]
"""A tensor, and the place of one argument of the operation that computed it."""


def stream_cuts(graph: Graph) -> tuple[list[Vertex], list[Vertex]]:
    """Return the cuts from the input to the output, and the sums in which earlier states enter.

    A path along which something is multiplied by exactly 0 is none, where blocks appear without it,
    and one that brings back an earlier state of the stream is left out, where several do; else
    either stays.
    """
    found = graph.cuts(graph.order[0], graph.order[-1])
    readers = _readers(graph)
    refined, entered = found[:1], []
    for source, target in pairwise(found):
        stretch = [source, *graph.between(source, target)]
        inner = graph.inner_cuts(stretch, graph.vanishing) if graph.vanishing else []
        if len(inner) < 3 or not _blocks(graph, inner):
            inner = [source, target]
        earlier = earlier_states(graph, stretch, readers)
        if earlier:
            cuts = graph.inner_cuts(stretch, graph.vanishing | earlier)
            if len(cuts) > len(inner) and _blocks(graph, cuts) > 1:
                inner = cuts
                entered += [v for v in stretch if any((v, i) in earlier for i in range(2))]
        refined += inner[1:]
    return refined, [v for v in entered if is_sum(graph, v)]


def _blocks(graph: Graph, cuts: list[Vertex]) -> int:
    """Return how many pairs of neighbours show a skip and a branch."""
    parts = [linear_part(graph, *ends) for ends in pairwise(cuts)]
    return sum(bool(part.skip and part.heads) for part in parts)


def earlier_states(
    graph: Graph, stretch: list[Vertex], readers: Mapping[Vertex, list[Argument]]
) -> frozenset[Argument]:
    """Return the arguments that bring earlier states of the stream into sums.

    A state is earlier than another where the other is a sum of multiples that contains it. What
    only leads to such an argument is left out with it.
    """
    below = _below(graph, stretch)
    found: set[Argument] = set()
    for vertex in stretch[1:]:
        terms = list(_terms(graph, vertex, readers))
        for argument, base in terms:
            later = (other for _, other in terms if other != base)
            if any(base in below.get(other, ()) for other in later):
                found.add(argument)
    if len(found) < _FEWEST:
        return frozenset()
    for vertex in reversed(stretch[1:-1]):
        if all(reader in found for reader in readers[vertex]):
            found |= {(vertex, index) for index, _ in graph.inputs(vertex)}
    return frozenset(found)


def _readers(graph: Graph) -> dict[Vertex, list[Argument]]:
    readers: dict[Vertex, list[Argument]] = defaultdict(list)
    for vertex in graph.order:
        for index, argument in graph.inputs(vertex):
            readers[argument].append((vertex, index))
    return readers


def _below(graph: Graph, stretch: list[Vertex]) -> dict[Vertex, frozenset[Vertex]]:
    """Return, for every sum or multiple of others, what it is a sum of multiples of."""
    below: dict[Vertex, frozenset[Vertex]] = {}
    for vertex in stretch[1:]:
        if is_sum(graph, vertex) or is_multiple(graph, vertex):
            arguments = [v for _, v in graph.inputs(vertex)]
            parts = [below.get(v, frozenset()) | {v} for v in arguments]
            below[vertex] = frozenset[Vertex]().union(*parts)
    return below


def _terms(
    graph: Graph, vertex: Vertex, readers: Mapping[Vertex, list[Argument]]
) -> Iterator[tuple[Argument, Vertex]]:
    """Yield the arguments of a sum; a sum inside it that nothing else reads gives its own."""
    if not is_sum(graph, vertex):
        return
    for index, argument in graph.inputs(vertex):
        if is_sum(graph, argument) and len(readers[argument]) == 1:
            yield from _terms(graph, argument, readers)
        else:
            yield (vertex, index), _base(graph, argument)


def _base(graph: Graph, vertex: Vertex) -> Vertex:
    """Return what a tensor is a multiple of, entry by entry."""
    while is_multiple(graph, vertex):
        ((_, vertex),) = graph.inputs(vertex)
    return vertex


def is_sum(graph: Graph, vertex: Vertex) -> bool:
    """Return whether a tensor is a sum, or an interpolation, of others."""
    return operation(vertex) in _SUMS and len(graph.inputs(vertex)) > 1


def is_multiple(graph: Graph, vertex: Vertex) -> bool:
    """Return whether a tensor is another one times constants, entry by entry."""
    name, inputs = operation(vertex), graph.inputs(vertex)
    if len(inputs) != 1:
        return False
    return name in _SUMS or (name in _MULTIPLES and not (name == "Div" and inputs[0][0] == 1))
