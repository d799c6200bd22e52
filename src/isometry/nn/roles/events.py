"""What becomes of a linear map's output: added to the stream, a gate, a query, a choice."""

from collections.abc import Iterable
from math import prod

from isometry.nn.roles.graph import FACTORS, REARRANGING, SUMS, Graph, is_product, op

_CHOICES = {"topk", "sort", "argmax", "max", "kthvalue", "argsort"}
_SMOOTH = {"softmax", "_softmax", "sigmoid", "_log_softmax"}
_LONGEST = 80
"""Calls that are looked at from one output on."""


def events(graph: Graph, consumers: Iterable[tuple[int, int]]) -> frozenset[str]:
    """Return what the consumers of an output make of it.

    The words are "query", "key", "value" and "product" (of two tensors), "gate" (multiplies
    after a non-linearity), "gated", "choice" (a top-k), "map", "stream" and "bent" (a
    non-linearity was met).
    """
    found: set[str] = set()
    seen: set[tuple[int, int, bool]] = set()
    todo = [(index, place, False) for index, place in consumers]
    starts = {index for index, _, _ in todo}
    while todo and len(seen) < _LONGEST:
        index, place, bent = todo.pop(0)
        if (index, place, bent) in seen:
            continue
        seen.add((index, place, bent))
        if _bends_itself(graph, index, place, starts):
            bent = True
            todo += [(after, at, bent) for after, at in graph.consumers[index]]
            continue
        ended, bent = _met(graph, index, place, bent, found)
        if not ended:
            todo += [(after, at, bent) for after, at in graph.consumers[index]]
    return frozenset(found)


def _bends_itself(graph: Graph, index: int, place: int, starts: set[int]) -> bool:
    """Return whether a product is of two functions of one tensor, as x sigmoid(x)."""
    node = graph.nodes[index]
    if op(node) not in FACTORS or len(node.inputs) != 2 or graph.normalises(index):
        return False
    others = [source for at, source in node.inputs if at != place]
    return index in starts or any(graph.is_above(s, o) for s in starts for o in others)


def _met(graph: Graph, index: int, place: int, bent: bool, found: set[str]) -> tuple[bool, bool]:
    """Note what a call does with the tensor; return whether that is its end, and if it is bent."""
    node = graph.nodes[index]
    name = op(node)
    if node.applied is not None:
        found.add("map")
        return True, bent
    if name in _CHOICES:
        found.add("choice")
        return True, bent
    if is_product(node):
        found.add(_of_product(graph, index, place))
        return True, bent
    if index in graph.additions:
        found.add("stream")
        return True, bent
    if name in FACTORS and len(node.inputs) == 2 and not graph.normalises(index):
        found.add("gate" if bent else "gated")
        return _is_gate(graph, index, place, bent), bent
    if name in REARRANGING or name in SUMS or name in FACTORS or graph.normalises(index):
        return False, bent
    if name not in _SMOOTH:
        found.add("bent")
    return False, True


def _is_gate(graph: Graph, index: int, place: int, bent: bool) -> bool:
    """Return whether an operand only multiplies another one, which is what goes on."""
    own = next((s for at, s in graph.nodes[index].inputs if at == place), None)
    small = own is not None and prod(graph.nodes[own].shape) < prod(graph.nodes[index].shape)
    return bent or small


def _of_product(graph: Graph, index: int, place: int) -> str:
    """Return which operand of attention a tensor is in a product of two."""
    sources = dict(graph.nodes[index].inputs)
    if any(_softened(graph, s) for at, s in sources.items() if at != place):
        return "value"
    if _softens(graph, index):
        return "query" if place == min(sources) else "key"
    return "product"


def _softened(graph: Graph, index: int) -> bool:
    """Return whether a tensor is a softmax, up to what leaves it one."""
    for _ in range(8):
        node = graph.nodes[index]
        if "softmax" in node.op:
            return True
        if op(node) not in REARRANGING or not node.inputs:
            return False
        index = node.inputs[0][1]
    return False


def _softens(graph: Graph, index: int) -> bool:
    """Return whether a softmax is taken of a tensor soon."""
    todo, seen = [index], set()
    while todo and len(seen) < 25:
        one = todo.pop(0)
        if one in seen:
            continue
        seen.add(one)
        for after, _ in graph.consumers[one]:
            node = graph.nodes[after]
            if "softmax" in node.op:
                return True
            if node.applied is None and not is_product(node):
                todo.append(after)
    return False
