"""Rules that turn one recorded aten call into linear maps: the registry and pointwise calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map_only

from isometry.nn.tape.maps import Cast, Diagonal, Expand, Identity, LinearMap, Move, Scale
from isometry.nn.tape.maps_dense import Local, LocalGraph


@dataclass(frozen=True, eq=False)
class Term:
    """One summand of an output's tangent: the maps from a node's tangent to it, first to last."""

    node: int
    maps: Sequence[LinearMap]
    output: int = 0


@dataclass(frozen=True, eq=False)
class AtenCall:
    """One aten call: operands by the schema's names, results, and what depends on the input."""

    func: OpOverload
    operands: dict[str, Any]
    outputs: Sequence[Any]
    nodes: dict[int, int]  # id of an operand tensor that depends on the input -> its node
    hold: Callable[[Tensor], Tensor]  # keeps a recorded value, safe from later in-place writes

    def __getitem__(self, name: str) -> Any:
        return self.operands.get(name)

    @property
    def name(self) -> str:
        return self.func.overloadpacket.__name__

    @property
    def output(self) -> Tensor:
        return self.outputs[0]

    def node(self, operand: object) -> int | None:
        return self.nodes.get(id(operand))

    def depends(self, *names: str) -> bool:
        return any(self.node(self[name]) is not None for name in names)

    @property
    def dependent(self) -> list[tuple[str, Tensor, int]]:
        """Return the dependent operands that are tensors of their own, not in a list."""
        found = [(name, value, self.node(value)) for name, value in self.operands.items()]
        return [(name, value, node) for name, value, node in found if node is not None]

    def rerun(self, replaced: dict[str, Any]) -> Any:
        """Call the op again with some operands replaced."""
        return call_by_name(self.func, self.operands | replaced)


Rule = Callable[[AtenCall], "list[Term] | None"]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for aten ops; it returns None where it does not apply."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def call_by_name(func: OpOverload, operands: dict[str, Any]) -> Any:
    """Call ``func`` with operands under the names of its schema."""
    arguments = func._schema.arguments
    positional = [operands[a.name] for a in arguments if not a.kwarg_only and a.name in operands]
    return func(*positional, **{a.name: operands[a.name] for a in arguments if a.kwarg_only})


@runtime_checkable
class Placed(Protocol):
    """What has a type and a device: a tensor, or a layout without entries."""

    @property
    def dtype(self) -> torch.dtype:
        """Its type."""
        ...

    @property
    def device(self) -> torch.device:
        """Its device."""
        ...


def cast(operand: Placed, like: Placed) -> list[LinearMap]:
    """Return the maps that move and cast an operand's tangent to an output's."""
    maps: list[LinearMap] = []
    if operand.device != like.device:
        maps.append(Move(operand.device, like.device))
    if operand.dtype != like.dtype:
        maps.append(Cast(operand.dtype, like.dtype))
    return maps


def conform(operand: Tensor, like: Tensor) -> list[LinearMap]:
    """Return the maps that cast an operand's tangent and broadcast it to an output's shape."""
    grown = [Expand(operand.shape, like.shape)] if operand.shape != like.shape else []
    return [*cast(operand, like), *grown]


def linearise(call: AtenCall) -> list[Term] | None:
    """Apply the rule of a call's op; None where there is none."""
    found = RULES.get(call.name)
    terms = found(call) if found else None
    if terms is None and torch.Tag.pointwise in call.func.tags and len(call.outputs) == 1:
        terms = pointwise(call)
    return terms


@rule("hardswish", "hardsigmoid", "log_sigmoid_forward", "_prelu_kernel", "masked_fill", "rsub")
def pointwise(call: AtenCall) -> list[Term] | None:
    """Multiply by the derivative of each dependent operand, computed once by autograd."""
    like = call.output
    leaves = {
        name: value.detach().expand(like.shape).requires_grad_()
        for name, value, _ in call.dependent
    }
    if not leaves:
        return None
    with torch.enable_grad():
        result = call.rerun(leaves)
        result = result[0] if isinstance(result, tuple) else result
        if not result.requires_grad:
            return []
        slopes = torch.autograd.grad(
            result, list(leaves.values()), torch.ones_like(result), materialize_grads=True
        )
    return [
        Term(node, [*conform(value, like), Diagonal(slope.to(like.dtype))])
        for (_, value, node), slope in zip(call.dependent, slopes, strict=True)
    ]


def _scaled(factor: Any) -> list[LinearMap]:
    return [] if factor == 1 else [Scale(float(factor))]


@rule("add", "sub")
def add(call: AtenCall) -> list[Term]:
    """``self + alpha other``, and the difference."""
    alpha = call["alpha"] if call["alpha"] is not None else 1
    factors = {"self": 1, "other": alpha if call.name == "add" else -alpha}
    return [
        Term(node, [*conform(value, call.output), *_scaled(factors[name])])
        for name, value, node in call.dependent
    ]


@rule("neg")
def neg(call: AtenCall) -> list[Term]:
    return [Term(node, [Scale(-1.0)]) for _, _, node in call.dependent]


def _times(call: AtenCall, value: Any, inverse: bool) -> list[LinearMap]:
    if not isinstance(value, Tensor):
        return _scaled(1 / value if inverse else value)
    held = call.hold(value).to(call.output.dtype)
    return [Diagonal(held.reciprocal() if inverse else held)]


@rule("mul")
def mul(call: AtenCall) -> list[Term]:
    """Each factor's tangent times the other factor."""
    partner = {"self": call["other"], "other": call["self"]}
    return [
        Term(node, [*conform(value, call.output), *_times(call, partner[name], inverse=False)])
        for name, value, node in call.dependent
    ]


@rule("div")
def div(call: AtenCall) -> list[Term] | None:
    """Division by a constant; the rest is left to the general pointwise rule."""
    if call.depends("other") or call["rounding_mode"] is not None:
        return None
    (_, value, node), *_ = call.dependent
    return [Term(node, [*conform(value, call.output), *_times(call, call["other"], inverse=True)])]


@rule("clone", "alias", "_to_copy", "lift_fresh", "lift_fresh_copy", "contiguous", "_conj")
def copy_of(call: AtenCall) -> list[Term]:
    """The same value, perhaps in another dtype or on another device."""
    return [Term(node, [Identity(), *conform(v, call.output)]) for _, v, node in call.dependent]


@rule("copy", "fill")
def overwrite(call: AtenCall) -> list[Term]:
    """``self`` is replaced altogether: only the source's tangent counts."""
    source = call["src"] if call.name == "copy" else call["value"]
    node = call.node(source)
    return [] if node is None else [Term(node, [Identity(), *conform(source, call.output)])]


@rule("zero", "detach", "zeros_like", "ones_like", "empty_like", "full_like", "new_zeros",
      "new_empty", "new_ones", "new_full")  # fmt: skip
def cut(call: AtenCall) -> list[Term]:  # noqa: ARG001
    """The result does not depend on the operands' values, or not for autograd."""
    return []


def local(call: AtenCall) -> list[Term]:
    """Keep the autograd graph of this one op at its recorded operands: the fallback."""
    leaves = {
        id(value): value.detach().clone().requires_grad_()
        for value in tree_leaves(call.operands)
        if isinstance(value, Tensor) and id(value) in call.nodes
    }
    operands = tree_map_only(Tensor, lambda x: leaves.get(id(x), x.detach()), call.operands)
    with torch.enable_grad():
        result = call_by_name(call.func, operands)
    results = result if isinstance(result, (tuple, list)) else (result,)
    return [
        Term(call.nodes[key], [Local(LocalGraph(call.name, value, y))], i)
        for i, y in enumerate(results)
        if isinstance(y, Tensor) and y.requires_grad
        for key, value in leaves.items()
    ]
