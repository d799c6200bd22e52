"""The stream and its branches in the dataflow of a pass: what a residual addition adds to what.

An addition is residual where one operand, up to rearrangements, factors and sums, is what the
other was computed from with at least one linear map in between.
"""

from collections.abc import Iterator
from functools import cached_property
from math import prod

from isometry.nn.roles.flow import Node

REARRANGING = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "clone", "transpose", "permute", "t",
    "unsqueeze", "squeeze", "expand", "slice", "select", "split", "split_with_sizes", "chunk",
    "unbind", "contiguous", "_to_copy", "alias", "detach", "cat", "stack", "index", "gather",
    "index_select", "constant_pad_nd", "roll", "flip", "as_strided", "unfold", "index_put",
    "index_add", "scatter", "scatter_add", "index_copy", "copy", "slice_scatter", "lift_fresh",
    "select_scatter", "mean", "sum", "im2col", "col2im", "unflatten", "masked_scatter", "pad",
    "upsample_nearest2d", "upsample_bilinear2d", "avg_pool2d", "avg_pool1d", "repeat", "movedim",
    "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "pixel_shuffle", "pixel_unshuffle",
    "native_dropout", "masked_fill", "where", "fill",
}  # fmt: skip
SUMS = {"add", "sub", "rsub"}
FACTORS = {"mul", "div", "neg"}
_ROOTS = {"rsqrt", "sqrt", "std", "var", "linalg_vector_norm", "norm", "reciprocal", "var_mean"}
_PRODUCTS = {"bmm", "baddbmm", "mm", "mv", "dot"}
_DEEP = 7
"""Steps within which the root of a normalisation is looked for."""


class Graph:
    """The nodes of a pass with what follows from them: consumers, ancestors, the stream."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.consumers: list[list[tuple[int, int]]] = [[] for _ in nodes]
        """For every node (consumer, operand)."""
        self.above: list[int] = []
        """For every node the set of its ancestors and itself, as the bits of a number."""
        self._given: list[bool] = []
        """For every node whether the input decides it; a table of positions is read without."""
        for node in nodes:
            bits = 1 << node.index
            for place, source in node.inputs:
                self.consumers[source].append((node.index, place))
                bits |= self.above[source]
            self.above.append(bits)
            sources = [self._given[source] for _, source in node.inputs]
            self._given.append(any(sources) if sources else op(node) != "embedding")

    def is_above(self, one: int, other: int) -> bool:
        """Return whether `other` is computed from `one`, or is it."""
        return bool(self.above[other] >> one & 1)

    @cached_property
    def maps(self) -> list[int]:
        """The nodes that apply a linear map."""
        return [node.index for node in self.nodes if node.applied is not None]

    @cached_property
    def additions(self) -> dict[int, tuple[int, int]]:
        """{residual addition: (its skip, its branch)}, in order."""
        found = {}
        for node in self.nodes:
            sides = [source for _, source in node.inputs]
            if op(node) not in SUMS or len(sides) != 2 or sides[0] == sides[1]:
                continue
            if any(prod(self.nodes[s].shape) != prod(node.shape) for s in sides):
                continue
            for skip, branch in (sides, sides[::-1]):
                if self._origin(skip, branch) is not None:
                    found[node.index] = (skip, branch)
                    break
        return found

    @cached_property
    def stream(self) -> set[int]:
        """The residual additions, and what each branch starts from."""
        origins = {self._origin(*sides) for sides in self.additions.values()}
        return set(self.additions) | {o for o in origins if o is not None}

    def _origin(self, skip: int, branch: int) -> int | None:
        """Return the last tensor of the skip that the branch is computed from by a map.

        What the input does not decide, as biases of relative positions that all layers add to their
        scores, is no stream.
        """
        own = self.linear_part(branch)
        for start in sorted(self.linear_part(skip), reverse=True):
            if start in own or not self._given[start] or not self.is_above(start, branch):
                continue
            between = (m for m in self.maps if m != start and self.is_above(start, m))
            if any(self.is_above(m, branch) for m in between):
                return start
        return None

    def linear_part(self, index: int) -> set[int]:
        """Return what a tensor is a sum, a multiple or a rearrangement of, itself included."""
        if index not in self._linear:
            found, todo = set(), [index]
            while todo:
                one = todo.pop()
                if one not in found:
                    found.add(one)
                    todo += [s for _, s in self.nodes[one].inputs if self._passes(one)]
            self._linear[index] = found
        return self._linear[index]

    @cached_property
    def _linear(self) -> dict[int, set[int]]:
        return {}

    def _passes(self, index: int) -> bool:
        """Return whether a call is linear in its operands with nothing learnt but a factor."""
        node = self.nodes[index]
        name = op(node)
        if name in FACTORS:
            return len(node.inputs) == 1 and not (name == "div" and node.inputs[0][0] == 1)
        return name in REARRANGING or name in SUMS

    def normalises(self, index: int) -> bool:
        """Return whether a call divides a tensor by a root of its own mean square."""
        node = self.nodes[index]
        if is_norm(node):
            return True
        if op(node) not in ("mul", "div") or len(node.inputs) != 2:
            return False
        small = min((s for _, s in node.inputs), key=lambda s: prod(self.nodes[s].shape))
        if prod(self.nodes[small].shape) >= prod(node.shape):
            small = node.inputs[-1][1]
        for _ in range(_DEEP):
            if op(self.nodes[small]) in _ROOTS or op(self.nodes[small]) == "pow":
                return op(self.nodes[small]) != "pow" or self._is_mean(small)
            sources = self.nodes[small].inputs
            if not sources:
                return False
            small = sources[0][1]
        return False

    def _is_mean(self, index: int) -> bool:
        sources = self.nodes[index].inputs
        return bool(sources) and op(self.nodes[sources[0][1]]) in ("mean", "add", "sum")

    def main_operands(self, index: int) -> Iterator[int]:
        """Yield the operands that carry a tensor's entries; factors broadcast to them are none."""
        node = self.nodes[index]
        if op(node) in FACTORS and len(node.inputs) == 2:
            sizes = [prod(self.nodes[s].shape) for _, s in node.inputs]
            yield from (s for (_, s), n in zip(node.inputs, sizes, strict=True) if n == max(sizes))
        else:
            yield from (s for _, s in node.inputs)

    def writers(self, addition: int) -> dict[int, float]:
        """Return the maps whose outputs a residual addition adds, with the fixed factor between.

        Nothing but factors lies between; what is learned or computed among them counts as 1.
        """
        skip, branch = self.additions[addition]
        own = self.nodes[addition]
        first = own.factor if dict(own.inputs).get(1) == branch else 1.0
        seen, todo, found = set(self.linear_part(skip)), [(branch, first)], {}
        while todo:
            index, factor = todo.pop()
            if index in seen:
                continue
            seen.add(index)
            node = self.nodes[index]
            if node.applied is not None:
                found[index] = factor
            elif self._passes(index) or self._combines(index):
                scale = node.factor if op(node) in FACTORS else 1.0
                todo += [(source, factor * scale) for source in self.main_operands(index)]
        return found

    def _combines(self, index: int) -> bool:
        """Return whether a call weighs what goes through it: a norm, a gate, a sum of experts."""
        node = self.nodes[index]
        return self.normalises(index) or op(node) in FACTORS or is_product(node)

    def reads_stream(self, index: int) -> bool:
        """Return whether a map's input comes from the stream without another map in between."""
        seen, todo = set(), [s for _, s in self.nodes[index].inputs]
        while todo:
            one = todo.pop()
            if one in seen:
                continue
            seen.add(one)
            if one in self.stream:
                return True
            if self.nodes[one].applied is None:
                todo += [s for _, s in self.nodes[one].inputs]
        return False


def op(node: Node) -> str:
    """Return the name of a call, in place or not."""
    return node.op.removesuffix("_")


def is_norm(node: Node) -> bool:
    """Return whether a call is a normalisation of torch's."""
    return "norm" in node.op and "vector_norm" not in node.op and "weight_norm" not in node.op


def is_product(node: Node) -> bool:
    """Return whether a call multiplies matrices of which both depend on the input."""
    return op(node) in _PRODUCTS and len(node.inputs) >= 2 and node.applied is None
