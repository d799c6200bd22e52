"""The autograd graph of one forward pass, and the tensors every path goes through.

A vertex is a tensor, written as (node, output number). A tensor that no path from the input to
the output avoids is a *cut*: the residual stream is a chain of cuts. Between two neighbouring
cuts s and y the pass is y = a s + f(s); `linear_part` finds the a that the graph itself shows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from torch import Tensor

from isometry.nn.tape import Layout, Vertex

_REARRANGE = ("View", "UnsafeView", "ReshapeAlias", "Clone", "Alias", "ToCopy", "Squeeze")
_REARRANGE += ("Unsqueeze", "Flatten", "Unflatten", "Contiguous")
_LINEAR = ("Addmm", "Mm", "Bmm", "Baddbmm", "GroupedMm", "Linear", "Convolution", "Mv")
_TRANSPOSE = ("T", "Transpose", "Permute")
_PART = ("Select", "Slice", "Index", "Narrow", "Split", "Chunk", "Unbind")
PRODUCT = "Mul"
PRODUCTS = (PRODUCT, "Bmm", "Mm", "Mv")
SCALED = ("Add", "Sub", "Neg", PRODUCT, "Div", "Expand", "Sum", "Mean", "NativeDropout", "Cat")
"""Operations whose result is scaled where the arguments are, besides `ISOMETRIES`."""
ISOMETRIES = _REARRANGE + _TRANSPOSE + ("RegisterPost",)  # the last: FSDP2 around a layer


def operation(vertex: Vertex) -> str:
    """Return the operation's name as autograd has it, without `Backward0`."""
    return vertex[0].name().split("Backward")[0]


def shape_of(vertex: Vertex) -> tuple[int, ...]:
    """Return the shape of the tensor that the vertex stands for."""
    return layout_of(vertex).shape


def layout_of(vertex: Vertex) -> Layout:
    """Return the layout of the tensor that the vertex stands for."""
    metadata = vertex[0]._input_metadata[vertex[1]]
    return Layout(tuple(metadata.shape), metadata.dtype, metadata.device)


def _inputs(vertex: Vertex) -> Iterator[tuple[int, Vertex]]:
    for index, (node, number) in enumerate(vertex[0].next_functions):
        if node is not None:
            yield index, (node, number)


@dataclass(frozen=True)
class Graph:
    """Every tensor on a path from the input to the output, in order of computation.

    Attributes:
        order: From the input on.
        position: {tensor: place in the order}.
        agreed: Makes of the factors that are 0 on this process those that count. Where several
            compute together they have to agree, since each may hold another part of a factor.
    """

    order: list[Vertex]
    position: dict[Vertex, int] = field(repr=False)
    agreed: Callable[[list[bool]], Sequence[bool]] = field(default=list, repr=False)

    def inputs(self, vertex: Vertex) -> list[tuple[int, Vertex]]:
        """Return (argument index, vertex) of the arguments that depend on the input."""
        return [(i, v) for i, v in _inputs(vertex) if v in self.position]

    def leaves(self, vertex: Vertex) -> Iterator[tuple[int, bool, Tensor]]:
        """Yield (argument index, taken as it is?, parameter) of the other arguments."""
        for index, side in _inputs(vertex):
            if side not in self.position:
                for direct, leaf in _leaves(side):
                    yield index, direct, leaf

    def cuts(self, source: Vertex, target: Vertex) -> list[Vertex]:
        """Return the tensors that every path from source to target goes through, both included.

        The list is empty where no path exists.
        """
        stretch = [source, *self.between(source, target)]
        return self.inner_cuts(stretch, frozenset()) if stretch[-1] == target else []

    def inner_cuts(self, stretch: list[Vertex], ignored: Set[tuple[Vertex, int]]) -> list[Vertex]:
        """Return the cuts of a stretch of tensors in order, some arguments taken for no path."""
        place = {vertex: number for number, vertex in enumerate(stretch)}
        furthest, alive = [0] * len(stretch), {stretch[0]}
        for number, vertex in enumerate(stretch[1:], 1):
            for index, v in self.inputs(vertex):
                if v in alive and (vertex, index) not in ignored:
                    furthest[place[v]] = number
                    alive.add(vertex)
        found, reach = [], 0
        for number, vertex in enumerate(stretch):
            if reach <= number and vertex in alive:
                found.append(vertex)
            reach = max(reach, furthest[number])
        return found if stretch[-1] in alive else []

    @cached_property
    def vanishing(self) -> frozenset[tuple[Vertex, int]]:
        """The arguments whose factor is exactly 0, as (tensor, argument index)."""
        arguments = [(v, index) for v in self.order[1:] for index, _ in self.inputs(v)]
        zero = self.agreed([_vanishes(*argument) for argument in arguments])
        return frozenset(a for a, vanishes in zip(arguments, zero, strict=True) if vanishes)

    def between(self, source: Vertex, target: Vertex) -> list[Vertex]:
        """Return the tensors on paths from source to target, without source, in order."""
        reached = {source}
        for vertex in self.order[self.position[source] + 1 : self.position[target] + 1]:
            if any(v in reached for _, v in self.inputs(vertex)):
                reached.add(vertex)
        needed = self.ancestors([target], reached)
        return sorted(needed - {source}, key=self.position.__getitem__)

    def ancestors(self, vertices: Iterable[Vertex], among: set[Vertex]) -> set[Vertex]:
        """Return `vertices` and what they are computed from, inside `among`."""
        seen, todo = set(), list(vertices)
        while todo:
            vertex = todo.pop()
            if vertex in among and vertex not in seen:
                seen.add(vertex)
                todo.extend(v for _, v in self.inputs(vertex))
        return seen


def build_graph(
    source: Vertex,
    target: Vertex,
    agreed: Callable[[list[bool]], Sequence[bool]] = list,
) -> Graph:
    """Return the graph between two tensors; it is empty where they are not connected."""
    order: list[Vertex] = []
    live: dict[Vertex, bool] = {source: True}
    todo: list[tuple[Vertex, bool]] = [(target, False)]
    order.append(source)
    while todo:
        vertex, done = todo.pop()
        if done:
            live[vertex] = any(live[v] for _, v in _inputs(vertex))
            if live[vertex]:
                order.append(vertex)
        elif vertex not in live:
            live[vertex] = False
            todo.append((vertex, True))
            todo.extend((v, False) for _, v in _inputs(vertex))
    if not live[target]:
        order = []
    return Graph(order, {vertex: place for place, vertex in enumerate(order)}, agreed)


def _leaves(vertex: Vertex) -> Iterator[tuple[bool, Tensor]]:
    seen, todo = set(), [(vertex, True)]
    while todo:
        (node, number), direct = todo.pop()
        if (node, number) in seen:
            continue
        seen.add((node, number))
        if hasattr(node, "variable"):
            yield direct, node.variable
        else:
            plain = direct and operation((node, number)) in ISOMETRIES + _PART
            todo.extend((v, plain) for _, v in _inputs((node, number)))


def role(vertex: Vertex, index: int, direct: bool) -> str:
    """Return what a parameter does as argument `index` of an operation.

    One of "linear" (a weight matrix or kernel), "norm" (a normalisation's weight), "gain" (a
    factor as it is), "bias", "reparametrised" (a weight computed from it) and "other", also where
    a factor is computed from it.
    """
    name = operation(vertex)
    if "Norm" in name:
        return "norm" if index == 1 else "bias"
    if name in _LINEAR:
        bias = {"Addmm": 0, "Baddbmm": 0}.get(name, 2)
        if index == bias and name not in ("Mm", "Bmm", "GroupedMm", "Mv"):
            return "bias"
        return "linear" if direct else "reparametrised"
    if name == "Mul" and direct:
        return "gain"
    return {"Add": "bias", "Sub": "bias"}.get(name, "other")


def _saved(node: Any, name: str) -> Any:
    try:
        value = getattr(node, name, None)
    except RuntimeError:  # overwritten in place since it was saved
        return None
    return None if isinstance(value, Tensor) and _freed(value) else value


def _freed(tensor: Any) -> bool:
    """Return whether its entries are gone, as of weights that FSDP gathered; reading them kills."""
    try:
        own = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        return own.numel() > 0 and own.untyped_storage().nbytes() == 0
    except RuntimeError:  # of another layout, without a storage
        return False


def _scalar(node: Any, name: str) -> float | None:
    value = _saved(node, name)
    if isinstance(value, Tensor):
        return float(value.detach()) if value.numel() == 1 and not value.is_complex() else None
    return float(value) if isinstance(value, (int, float)) else None


def _vanishes(vertex: Vertex, index: int) -> bool:
    """Return whether an operation multiplies one of its arguments by exactly 0."""
    node, name = vertex[0], operation(vertex)
    if name == PRODUCT:
        other = _saved(node, "_saved_other" if index == 0 else "_saved_self")
        if isinstance(other, Tensor):
            return _is_zero(other)
        return isinstance(other, (int, float)) and other == 0
    if name in ("Add", "Sub"):
        return index == 1 and _scalar(node, "_saved_alpha") == 0
    weight = _scalar(node, "_saved_weight") if name == "Lerp" else None
    return weight is not None and (weight if index == 1 else 1.0 - weight) == 0


def _is_zero(tensor: Any) -> bool:
    """Return whether every entry held here is 0; not so of fake tensors, which have no values."""
    try:
        own = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        return not bool(own.detach().any())
    except RuntimeError:
        return False


def factor(graph: Graph, vertex: Vertex, index: int, like: Vertex) -> float | None:
    """Return g where the operation is g times its argument (plus others), else None.

    It has as many entries as ``like``, or is not meant.
    """
    node, name = vertex[0], operation(vertex)
    if prod(shape_of(vertex)) != prod(shape_of(like)):
        return None
    if name in _REARRANGE:
        return 1.0
    if name in ("Add", "Sub"):
        alpha = _scalar(node, "_saved_alpha") if index == 1 else 1.0
        return alpha if alpha is None or index == 0 or name == "Add" else -alpha
    if name == "Neg":
        return -1.0
    if name == "Mul" and len(graph.inputs(vertex)) == 1:
        return _scalar(node, "_saved_other" if index == 0 else "_saved_self")
    if name == "Div" and index == 0 and len(graph.inputs(vertex)) == 1:
        value = _scalar(node, "_saved_other")
        return 1.0 / value if value else None
    if name == "Lerp":
        weight = _scalar(node, "_saved_weight")
        return weight if weight is None or index == 1 else 1.0 - weight
    return None


@dataclass(frozen=True)
class LinearPart:
    """y = skip * s + the sum of terms; skip is None where no path from s is a scalar factor."""

    skip: float | None
    heads: tuple[Vertex, ...]
    """The tensors that are not sums or multiples of others: the ends of the branch's terms."""
    sums: tuple[Vertex, ...]
    """The sums and multiples between the heads and y, from y backwards."""
    weights: tuple[float, ...] = ()
    """The factor of each head in y."""


def linear_part(
    graph: Graph,
    source: Vertex,
    target: Vertex,
    *,
    like: Vertex | None = None,
    inside: Sequence[Vertex] | None = None,
) -> LinearPart:
    """Split target = skip * source + terms as far as additions and scalar factors show it.

    Sums and multiples have as many entries as ``like``, by default as the source. They are looked
    for ``inside`` these tensors in order, by default all between the two.
    """
    like = source if like is None else like
    weight: dict[Vertex, float] = {target: 1.0}
    heads, sums = [], []
    inside = graph.between(source, target) if inside is None else inside
    for vertex in reversed(inside):
        if vertex not in weight:
            continue
        arguments = graph.inputs(vertex)
        factors = [factor(graph, vertex, i, like) for i, _ in arguments]
        known = [f for f in factors if f is not None]
        if len(known) < len(arguments):
            heads.append(vertex)
            continue
        sums.append(vertex)
        for (_, v), f in zip(arguments, known, strict=True):
            weight[v] = weight.get(v, 0.0) + weight[vertex] * f
    below = graph.ancestors(heads, set(inside))
    sums = [v for v in sums if graph.ancestors([v], set(inside)) & below]
    weights = tuple(weight[v] for v in heads)
    return LinearPart(weight.get(source), tuple(heads), tuple(sums), weights)
