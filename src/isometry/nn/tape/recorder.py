"""Record one forward pass as a graph of linear maps, with in-place writes and views followed.

Values are tracked by tensor identity. A write to memory starts a new version of that memory; a
tensor read after someone else wrote to its memory is read again, from the new version.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from isometry.nn.sandbox.listener import bound, tensors_in, written
from isometry.nn.tape.maps import Diagonal, Identity, LinearMap, Selection
from isometry.nn.tape.memory import Geometry, Memory
from isometry.nn.tape.observer import (
    FusedRecurrence,
    NotRecordable,
    Through,
    WriteGuard,
    check_deterministic,
)
from isometry.nn.tape.program import Edge
from isometry.nn.tape.rules import AtenCall, Term, call_by_name, cast, linearise, local
from isometry.nn.tape.vertices import Vertex, vertex_of

_REVIEWED = {"transpose_", "t_", "squeeze_", "unsqueeze_", "swapaxes_", "swapdims_", "as_strided_"}
"""Ops that change how a tensor views its memory, and leave the memory as it is."""
_PLAIN = (Tensor, torch.nn.Parameter, torch.nn.Buffer)
_ALWAYS = -1
"""Stands for every version of a memory: what is detached stays constant."""


class Recorder(WriteGuard):
    """Collect the edges between the values of one forward pass that depend on its input."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.edges: list[Edge] = []
        self.ops: list[tuple[str, bool]] = []  # name of a recorded op, taken by the fallback?
        self.external: list[tuple[int, Tensor]] = []  # constants kept by reference, for a node
        self.vertices: dict[Vertex, int] = {}  # nodes by autograd's names, where it follows too
        self.dtypes = {x.dtype}  # of the values that depend on the input
        self.refusal: NotRecordable | None = None
        self._count = 0
        self._entries: dict[int, tuple[Tensor, int | None, int]] = {}  # with its version
        self._memory: dict[int, Memory] = {}
        self.adopt(x, ())
        self._enter(x, self._new_node())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        try:
            return self._dispatch(func, types, args, kwargs or {})
        except NotRecordable as refusal:
            self.refusal = self.refusal or refusal
            raise

    def node_of(self, value: Tensor) -> int | None:
        """Return the node of a tensor's current value; None for a constant."""
        memory = self._memory.get(value.untyped_storage()._cdata)
        if memory is None:
            return None
        entry = self._entries.get(id(value))
        if entry is not None and entry[2] in (memory.version, _ALWAYS):
            return entry[1]
        if memory.version == 0 or memory.node is None:
            return None
        return self._reread(value, memory)

    def name_vertices(self) -> None:
        """Note the vertices of the values that no recorded op took as an operand."""
        for value, node, _ in list(self._entries.values()):
            if node is not None and value.requires_grad:
                self._met(value)

    def hold(self, value: Tensor) -> Tensor:
        """Keep a constant: by reference if it is a parameter, else safe from later writes."""
        key = value.untyped_storage()._cdata
        if key in self.inside or key in self.saved:
            return value.detach().clone()
        self.external.append((self._count, value.detach()))
        return value.detach()

    def _dispatch(self, func, types, args, kwargs) -> Any:
        if any(issubclass(kind, Tensor) and kind not in _PLAIN for kind in types):
            raise NotRecordable(f"{func} works on a tensor subclass")
        check_deterministic(func)
        if func.overloadpacket.__name__ == "mkldnn_rnn_layer":
            raise FusedRecurrence(f"{func} hides its steps")
        operands = bound(func, args, kwargs)
        targets = written(func, args, kwargs)
        for value in targets:
            self.save(value)
        tensors = tensors_in(operands)
        nodes = self._nodes(tensors)
        self.note_reads(tensors, followed=bool(nodes))
        if not nodes and not any(self._tracked(value) for value in targets):
            result = func(*args, **kwargs)
            self.adopt(result, args)
            return result
        if func._schema.is_mutable:
            return self._write(func, operands, nodes, targets)
        result = func(*args, **kwargs)
        self.adopt(result, args)
        self._follow(func, operands, nodes, result)
        return result

    def _nodes(self, tensors: Sequence[Tensor]) -> dict[int, int]:
        found = {id(x): self._met(x) for x in tensors if x.is_floating_point()}
        if any(x.is_complex() and self._tracked(x) for x in tensors):
            raise NotRecordable("an intermediate value is complex")
        return {key: node for key, node in found.items() if node is not None}

    def _met(self, value: Tensor) -> int | None:
        """Return the node of an operand, and note its vertex: writes will give it another."""
        node = self.node_of(value)
        vertex = None if node is None else vertex_of(value)
        if node is not None and vertex is not None:
            self.vertices[vertex] = node
        return node

    def _tracked(self, value: Tensor) -> bool:
        return value.untyped_storage()._cdata in self._memory

    def _follow(self, func, operands, nodes, result) -> list[int | None]:
        """Turn an op without side effects into edges; return the nodes of its results."""
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        if not any(isinstance(y, Tensor) and _differentiable(y) for y in outputs):
            return [None] * len(outputs)
        call = AtenCall(func, operands, outputs, nodes, self.hold)
        with torch.overrides.enable_reentrant_dispatch(), Through(), torch.no_grad():
            terms = linearise(call)
            if terms != []:
                self.ops.append((call.name, terms is None))
            if terms is None:
                terms = _fallback(call)
        return [self._add(y, [t for t in terms if t.output == i]) for i, y in enumerate(outputs)]

    def _add(self, value: Tensor, terms: Sequence[Term]) -> int | None:
        if not terms:
            if isinstance(value, Tensor) and self._tracked(value):
                self._entries[id(value)] = (value, None, _ALWAYS)
            return None
        if value.is_complex():
            raise NotRecordable("an intermediate value is complex")
        ends = [(self._chain(t.node, t.maps[:-1]), (t.maps or [Identity()])[-1]) for t in terms]
        node = self._node_from(ends)
        self._enter(value, node)
        self.dtypes.add(value.dtype)
        return node

    def _new_node(self) -> int:
        self._count += 1
        return self._count - 1

    def _node_from(self, ends: Sequence[tuple[int, LinearMap]]) -> int:
        node = self._new_node()
        self.edges.extend(Edge(source, node, linear) for source, linear in ends)
        return node

    def _chain(self, node: int, maps: Sequence[LinearMap]) -> int:
        for linear in maps:
            node = self._node_from([(node, linear)])
        return node

    def _enter(self, value: Tensor, node: int) -> None:
        key = value.untyped_storage()._cdata
        memory = self._memory.setdefault(key, Memory(node, Geometry.of(value)))
        self._entries[id(value)] = (value, node, memory.version)

    def _write(self, func, operands, nodes, targets) -> Any:
        """Record an in-place op as its functional variant followed by a write.

        Raises:
            NotRecordable: If there is no such variant.
        """
        functional = _functional(func)
        name = func.overloadpacket.__name__
        if "batch_norm" in name and not any(map(self._tracked, targets)):
            result = call_by_name(func, operands)
            self.adopt(result, targets)
            self._follow(func, operands, nodes, result)
            return result
        if functional is None or operands.get("self") is not targets[0]:
            raise NotRecordable(f"{func} writes in place in a way that is not followed")
        target = targets[0]
        kept = {k: v for k, v in operands.items() if k in _names(functional)}
        result = call_by_name(functional, kept)
        self.adopt(result, targets)
        node = self._follow(functional, kept, nodes, result)[0]
        if name in _REVIEWED:
            call_by_name(func, operands)
            self._entries[id(target)] = (target, node, self._memory_of(target).version)
            return target
        target.copy_(result)
        self._written_to(target, None if node is None else self._chain(node, cast(result, target)))
        return target

    def _memory_of(self, value: Tensor) -> Memory:
        return self._memory.get(value.untyped_storage()._cdata, Memory(None, None))

    def _written_to(self, target: Tensor, node: int | None) -> None:
        """Start a new version of the target's memory with ``node`` as the target's value."""
        old, geometry = self._memory_of(target), Geometry.of(target)
        if geometry.covers:
            new = Memory(node, geometry, old.version + 1)
        else:
            patched = self._patched(target, geometry, self._flat(old), node)
            new = Memory(patched, None, old.version + 1)
        self._memory[target.untyped_storage()._cdata] = new
        self._entries[id(target)] = (target, node, new.version)

    def _flat(self, memory: Memory) -> int | None:
        """Return the node of the whole memory as a vector.

        Raises:
            NotRecordable: If a part of the memory is not known.
        """
        if memory.node is None or memory.geometry is None:
            return memory.node
        if not memory.geometry.covers:
            raise NotRecordable("an in-place write goes to memory that is not followed as a whole")
        selection = Selection(memory.geometry.owners, memory.geometry.shape)
        return self._node_from([(memory.node, selection)])

    def _patched(
        self, target: Tensor, geometry: Geometry, flat: int | None, node: int | None
    ) -> int | None:
        """Return the flat content after ``target``, a part of it, was overwritten."""
        owners = geometry.owners
        ends: list[tuple[int, LinearMap]] = []
        if flat is not None:
            ends.append((flat, Diagonal((owners < 0).to(target.dtype))))
        if node is not None:
            ends.append((node, Selection(owners, target.shape)))
        return self._node_from(ends) if ends else None

    def _reread(self, value: Tensor, memory: Memory) -> int | None:
        """Read a tensor from memory that was written to since the tensor was made."""
        memory.node, memory.geometry = self._flat(memory), None
        if memory.node is None:
            return None
        geometry = Geometry.of(value)
        node = self._node_from([(memory.node, Selection(geometry.places, [geometry.entries]))])
        self._entries[id(value)] = (value, node, memory.version)
        return node


def _differentiable(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


def _is_any(value: object, tensors: Sequence[Tensor]) -> bool:
    return any(value is tensor for tensor in tensors)


def _names(func: OpOverload) -> set[str]:
    return {a.name for a in func._schema.arguments}


def _functional(func: OpOverload) -> OpOverload | None:
    """Return the variant without side effects of an in-place op: ``relu`` for ``relu_``."""
    name = func.overloadpacket.__name__
    packet = getattr(torch.ops.aten, name[:-1], None) if name.endswith("_") else None
    if packet is None or name == "resize_":
        return None
    variants = [getattr(packet, overload) for overload in packet.overloads()]
    return next((v for v in variants if _names(v) <= _names(func) and _typed(v, func)), None)


def _typed(variant: OpOverload, func: OpOverload) -> bool:
    """Return whether the variant takes its operands as ``func`` does."""
    kinds = {a.name: str(a.real_type) for a in func._schema.arguments}
    return all(str(a.real_type) == kinds[a.name] for a in variant._schema.arguments)


def _fallback(call: AtenCall) -> list[Term]:
    try:
        return local(call)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise NotRecordable(f"{call.func} has no rule and no second derivative: {error}") from error
