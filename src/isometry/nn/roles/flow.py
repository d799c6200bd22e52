"""The dataflow of one forward pass: which tensor is computed from which, and where weights enter.

Every aten call whose result depends on the input becomes a node. Views of a linear map's output
carry the number of the output that every entry came from, so that a fused map (queries, keys and
values in one weight) is known by its parts. Nothing is differentiated: one forward pass is all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from isometry.nn.roles.uses import MapCall, Watch, WeightMap, described_by

aten = torch.ops.aten
_COPIES = {aten.clone, aten.contiguous, aten._to_copy, aten.cat, aten.stack, aten._unsafe_view}
_COPIES |= {aten.reshape}
_LABELS = 2**21
"""Entries of a map's output up to which the numbers of its outputs are followed."""


@dataclass(frozen=True)
class Use:
    """A parameter or buffer among the operands of a call.

    Attributes:
        names: What the operand is computed from, the first name being the largest of them.
        place: Which operand it is.
        direct: Whether it is a view of the parameter.
        through: The operations between the parameter and the operand.
        shape: Of the operand.
    """

    names: tuple[str, ...]
    place: int
    direct: bool
    through: frozenset[str]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Applied:
    """A linear map as it was applied.

    Attributes:
        name: The parameter, under weight normalisation what holds the direction.
        names: All that the weight is computed from.
        bias: Name of the parameter that the operation adds.
        offset: Where in the parameter's memory the applied view begins.
        shape: Of the applied view.
        stride: Of the applied view; empty where the weight is computed.
        contracted: The axis that is summed over; None for a convolution.
        groups: Number of groups of a convolution.
        transposed: Whether a convolution is transposed.
    """

    name: str
    names: tuple[str, ...]
    bias: str | None
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    contracted: int | None
    groups: int
    transposed: bool


@dataclass
class Node:
    """A call whose result depends on the input."""

    index: int
    op: str
    inputs: tuple[tuple[int, int], ...]
    """(operand, node) of the operands that depend on the input."""
    uses: tuple[Use, ...]
    shape: tuple[int, ...]
    applied: Applied | None = None
    rms: float = math.nan
    """Root mean square of the result, of maps, additions and what goes into them."""
    factor: float = 1.0
    """Number that a product or a quotient multiplies its tensor by, a sum its second one."""
    rows: dict[int, Tensor] = field(default_factory=dict)
    """Operand -> which outputs of the map it comes from are in it, where not all are."""


class Flow(Watch):
    """Follow one pass; afterwards ``nodes`` is its graph, in order of computation."""

    def __init__(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Sequence[Tensor]
    ) -> None:
        super().__init__(dict(parameters) | dict(buffers), x[0], self._keep)
        self.nodes: list[Node] = []
        self.maps: dict[str, WeightMap] = {}
        """What map every parameter is that was applied as one."""
        self.constants: dict[str, set[str]] = {}
        """Name -> operations that took the tensor, or what is computed from it alone."""
        self.written: set[str] = set()
        """Buffers that the pass writes to."""
        self.output: int | None = None
        self._parameters = dict(parameters)
        self._applied: Applied | None = None
        self._place = WeakTensorKeyDictionary()
        self._labels = WeakTensorKeyDictionary()
        self._through = WeakTensorKeyDictionary()
        self._latest: dict[int, int] = {}
        for tensor in x:
            self._data[tensor] = True
            self._enter(tensor, Node(len(self.nodes), "input", (), (), tuple(tensor.shape)))

    def node_of(self, tensor: Tensor) -> int | None:
        """Return the node of a tensor; None for a constant."""
        own = self._place.get(tensor)
        latest = self._latest.get(_memory(tensor))
        return max((n for n in (own, latest) if n is not None), default=None)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Run the operation and add it to the graph."""
        kwargs = kwargs or {}
        self._applied = None
        operands = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        inputs = tuple(
            (place, node)
            for place, t in enumerate(operands)
            if (node := self.node_of(t)) is not None and t in self._data
        )
        uses = tuple(u for place, t in enumerate(operands) if (u := self._use(place, t)))
        labels = [self._labels.get(t) for t in operands]
        if func.overloadpacket in (aten.add, aten.add_) and len(inputs) == 2:
            for place, index in inputs:  # before the call, which may write over one of them
                self.nodes[index].rms = _rms(operands[place])
        out = super().__torch_dispatch__(func, types, args, kwargs)
        name = func.overloadpacket.__name__
        results = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        self._note_constants(func, name, operands, uses, results)
        if not inputs and not (func.overloadpacket is aten.embedding and uses):
            return out
        biased = len(inputs) == 1 and func.overloadpacket in (aten.add, aten.add_)
        follows = func.is_view or biased or func.overloadpacket in _COPIES
        self._follow_labels(func, args, kwargs, labels, out, follows)
        node = Node(len(self.nodes), name, inputs, uses, _shape(results), self._applied)
        node.factor = self._factor(func, args, kwargs)
        if not follows:
            node.rows = {p: _used(label) for p, label in enumerate(labels) if label is not None}
        self._measure(node, func, results)
        known = {_memory(t) for t in operands}
        for result in results:
            if _memory(result) not in known:  # the same address, after another tensor is gone
                self._latest.pop(_memory(result), None)
            self._enter(result, node, func._schema.is_mutable)
        return out

    def _keep(self, call: MapCall) -> Tensor:
        weight = call.weight
        parameter = self._parameters.get(call.name)
        if parameter is None:
            return call.run(weight)
        if parameter.ndim > 1 and call.name not in self.maps:
            described = described_by(parameter.detach(), call)
            if described is not None:
                self.maps[call.name] = described
        self._applied = Applied(
            call.name, call.names, call.bias, int(weight.storage_offset()), tuple(weight.shape),
            tuple(weight.stride()) if call.direct else (), call.contracted, call.groups,
            call.transposed,
        )  # fmt: skip
        return call.run(weight)

    def _enter(self, tensor: Tensor, node: Node, mutable: bool = False) -> None:
        if not self.nodes or self.nodes[-1] is not node:
            self.nodes.append(node)
        self._place[tensor] = node.index
        self._data[tensor] = True
        if mutable:
            self._latest[_memory(tensor)] = node.index

    def _use(self, place: int, tensor: Tensor) -> Use | None:
        known = self._known.get(tensor)
        if known is None or tensor in self._data:
            return None
        names = sorted(known.names, key=lambda n: -self._sizes[n])
        through = self._through.get(tensor) or frozenset()
        return Use(tuple(names), place, known.direct, through, tuple(tensor.shape))

    def _note_constants(
        self, func: Any, name: str, operands: Any, uses: Sequence[Use], results: Any
    ) -> None:
        """Note what acts on parameters and buffers, and what is computed from them alone."""
        for use in uses:
            for known in use.names:
                self.constants.setdefault(known, set()).add(name)
        if func._schema.is_mutable and operands and operands[0] in self._known:
            self.written.update(self._known[operands[0]].names)
        through = frozenset().union(*(use.through for use in uses))
        own = frozenset() if func.is_view else frozenset((name,))
        for result in results:
            if result in self._known and result not in self._data:
                self._through[result] = through | own

    def _follow_labels(
        self, func: Any, args: Any, kwargs: Any, labels: Any, out: Any, follows: bool
    ) -> None:
        """Number the outputs of a map, or let views of a numbered tensor take the numbers over."""
        if self._applied is not None and isinstance(out, Tensor):
            label = _numbered(out, self._applied)
            if label is not None:
                self._labels[out] = label
        elif labels[:1] and labels[0] is not None and func.is_view and args:
            moved = _moved(func, labels[0], args, kwargs, out)
            pairs = zip(tree_leaves(out), tree_leaves(moved), strict=True)
            self._labels.update({t: label for t, label in pairs if label is not None})
        elif follows and isinstance(out, Tensor):
            for label in (label for label in labels if label is not None):
                if out.numel() == label.numel():  # a cache that is empty may stand before it
                    self._labels[out] = label.reshape(out.shape)

    def _factor(self, func: Any, args: Sequence, kwargs: Mapping[str, Any]) -> float:
        """Return the fixed number that a call multiplies by; 1 for a learned one or a tensor."""
        kind = func.overloadpacket
        if kind in (aten.add, aten.add_):
            return float(kwargs.get("alpha", 1))
        if kind not in (aten.mul, aten.mul_, aten.div, aten.div_):
            return 1.0
        for other in args[1::-1]:
            if isinstance(other, Tensor):
                fixed = other.ndim == 0 and not other.is_meta and other not in self._data
                names = self._known[other].names if other in self._known else ()
                other = float(other) if fixed and not set(names) & set(self._parameters) else None
            if isinstance(other, (int, float)) and other:
                return 1 / other if kind in (aten.div, aten.div_) else float(other)
        return 1.0

    def _measure(self, node: Node, func: Any, results: Sequence[Tensor]) -> None:
        wanted = node.applied is not None or func.overloadpacket in (aten.add, aten.add_)
        if wanted and results:
            node.rms = _rms(results[0])


def _rms(value: Tensor) -> float:
    """Return the root mean square of a tensor's entries; NaN where it has no values."""
    if value.is_meta or not value.is_floating_point():
        return math.nan
    wide = torch.promote_types(value.dtype, torch.float32)
    size = torch.linalg.vector_norm(value.detach(), dtype=wide)
    return float(size) / math.sqrt(max(value.numel(), 1))


def _numbered(out: Tensor, applied: Applied) -> Tensor | None:
    """Return a tensor in the shape of a map's output that holds the numbers of the outputs."""
    if out.numel() > _LABELS or out.ndim < 2:
        return None
    axis = 1 if applied.contracted is None else out.ndim - (2 if applied.contracted == -1 else 1)
    numbers = torch.arange(out.shape[axis], dtype=torch.int32)
    shape = [1] * out.ndim
    shape[axis] = -1
    return torch.empty_like(out, dtype=torch.int32, device="cpu").copy_(
        numbers.reshape(shape).expand(out.shape)
    )


def _moved(func: Any, label: Tensor, args: Any, kwargs: Any, out: Any) -> Any:
    """Do with a label what a view does with the tensor, whose strides and type are others.

    A complex entry has the number of its real part. Where bytes are read as another type there may
    be no number for every entry, and the label is None.
    """
    if func.overloadpacket in (aten.view, aten._unsafe_view):
        return label.reshape(out.shape) if label.numel() == out.numel() else None
    if func.overloadpacket is aten.view_as_complex:
        return label[..., 0]
    if func.overloadpacket is aten.view_as_real:
        return label.unsqueeze(-1).expand(out.shape)
    return func(label, *args[1:], **kwargs)


def _used(label: Tensor) -> Tensor:
    """Return the numbers in a label, ascending."""
    return torch.bincount(label.flatten()).nonzero().flatten()


def _memory(tensor: Tensor) -> int:
    """Return what stands for the memory of a tensor; a sparse one has no storage of its own."""
    dense = tensor.layout is torch.strided
    return tensor.untyped_storage()._cdata if dense else id(tensor)


def _shape(results: Sequence[Tensor]) -> tuple[int, ...]:
    return tuple(results[0].shape) if results else ()
