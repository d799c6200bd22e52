"""Skips that are maps: y = A s + f(s) with A a matrix, a gate or a projection.

A scalar skip shows as a factor. Any other one is a term of the sum which the stream reaches through
operations that are linear in it alone: products, convolutions, pools, rearrangements. The branch is
what it does not reach so, or only by a longer way, and something in it is not linear.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from isometry.nn.blocks.graph import (
    ISOMETRIES,
    Graph,
    LinearPart,
    Vertex,
    linear_part,
    operation,
    shape_of,
)

_LINEAR = (
    "Add", "Alias", "AvgPool", "AdaptiveAvgPool", "Baddbmm", "Bmm", "Cat", "Clone", "Constant",
    "Convolution", "CudnnBatchNorm", "Div", "Expand", "Fft", "Flatten", "Gather", "GroupedMm",
    "Index", "Lerp", "Linear", "Mean", "Mm", "Mul", "Mv", "NativeBatchNorm", "NativeDropout", "Neg",
    "Permute", "Reflection", "Repeat", "Reshape", "Roll", "Select", "Slice", "Split", "Squeeze",
    "Stack", "Sub", "Sum", "T", "ToCopy", "Transpose", "Unbind", "Unflatten", "Unsafe", "Unsqueeze",
    "Upsample", "View", "MaxPool",
)  # fmt: skip
"""How operations begin that are linear in one argument, the others held; pools of maxima count."""
_PRODUCTS = ("Mul", "Mm", "Bmm", "Baddbmm", "Addmm", "Mv")
_NOT_QUITE = ("T",)
"""Beginnings that are whole names: a T is no Tanh."""


@dataclass(frozen=True)
class MapSkip:
    """y = A s + f(s) as the graph shows it.

    Attributes:
        skip: The ends of the skip's terms.
        branch: The branch, as a part without a scalar skip.
    """

    skip: tuple[Vertex, ...]
    branch: LinearPart


def map_skip(graph: Graph, source: Vertex, target: Vertex) -> MapSkip | None:
    """Return the skip between two tensors of the stream that is no number; None without one.

    Where the tensor is a stack of several, as of streams, each of them has to be such a sum. A
    stack of all outputs so far is the skip, and may get one more that is no sum.
    """
    inside = set(graph.between(source, target))
    ways = shortest_linear_ways(graph, [source], inside)
    ends, grown = _stacked(graph, target)
    skip: list[Vertex] = []
    heads: list[Vertex] = []
    sums: list[Vertex] = []
    for end in ends:
        part = _terms(graph, source, end)
        reached = [ways[head] for head in part.heads if head in ways]
        own = [head for head in part.heads if reached and ways.get(head) == min(reached)]
        rest = [head for head in part.heads if head not in own]
        if not (own and rest) and not (grown and (own or _is_one_more(end, source))):
            return None
        skip, heads, sums = [*skip, *own], [*heads, *rest], [*sums, *part.sums]
    members = graph.ancestors(heads, inside)
    if not skip or not heads or all(_is_linear(graph, v) for v in members):
        return None
    sums = [v for v in sums if graph.ancestors([v], inside) & members]
    branch = LinearPart(None, tuple(dict.fromkeys(heads)), tuple(dict.fromkeys(sums)))
    return MapSkip(tuple(skip), branch)


def _stacked(graph: Graph, target: Vertex) -> tuple[list[Vertex], bool]:
    """Return the tensors that are stacked to one, or the one, and whether they were before."""
    end = target
    while operation(end) in ISOMETRIES and len(graph.inputs(end)) == 1:
        ((_, end),) = graph.inputs(end)
    several = operation(end) in ("Stack", "Cat")
    return [v for _, v in graph.inputs(end)] if several else [target], operation(end) == "Cat"


def _is_one_more(end: Vertex, source: Vertex) -> bool:
    """Return whether a tensor is one entry of a stack along its first or another axis."""
    own, whole = shape_of(end), shape_of(source)
    pairs = list(zip(own, whole, strict=False))
    rest = [(n, m) for n, m in pairs if n != 1]
    return len(own) == len(whole) and len(rest) < len(pairs) and all(n == m for n, m in rest)


def _terms(graph: Graph, source: Vertex, end: Vertex) -> LinearPart:
    """Return the terms of a sum; an interpolation by a gate has two, and the gate."""
    part = linear_part(graph, source, end, like=end)
    heads: list[Vertex] = []
    for head in part.heads:
        gated = operation(head) == "Lerp"
        heads += [v for _, v in graph.inputs(head)] if gated else [head]
    weight = [source] if part.skip else []
    return replace(part, heads=tuple(dict.fromkeys([*weight, *heads])))


def shortest_linear_ways(
    graph: Graph, sources: Iterable[Vertex], inside: set[Vertex]
) -> dict[Vertex, int]:
    """Return how many operations, linear in it, take a source to each tensor they lead to."""
    ways = dict.fromkeys(sources, 0)
    for vertex in sorted(inside, key=graph.position.__getitem__):
        if not _begins(operation(vertex)):
            continue
        lengths = [
            ways[v] + 1
            for index, v in graph.inputs(vertex)
            if v in ways and not (operation(vertex) == "Div" and index == 1)
        ]
        if lengths:
            ways[vertex] = min(lengths)
    return ways


def _begins(name: str) -> bool:
    return name in _NOT_QUITE or name.startswith(tuple(n for n in _LINEAR if n not in _NOT_QUITE))


def _is_linear(graph: Graph, vertex: Vertex) -> bool:
    """Return whether an operation is linear in all that depends on the input together."""
    name, inputs = operation(vertex), graph.inputs(vertex)
    if name == "Div" and any(index == 1 for index, _ in inputs):
        return False
    return _begins(name) and not (name.startswith(_PRODUCTS) and len(inputs) > 1)
