"""What a model does with each of its parameters, seen in one forward pass.

A parameter is a linear map where a product or a convolution sums over one of its axes; its fan_in
is the number of terms of that sum, whatever the shape in which it is stored: a bank of experts of
shape (experts, out, in) is one matrix for every expert, and a layer scale of shape (C, 1, 1), a
class token or a position embedding is no map at all. Shapes alone do not tell these apart.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten

_LEFT_RIGHT = {aten.mm: (0, 1), aten.bmm: (0, 1), aten.mv: (0, 1)}
_LEFT_RIGHT |= {aten.addmm: (1, 2), aten.baddbmm: (1, 2), aten.addmv: (1, 2)}
_GROUPED = getattr(aten, "_grouped_mm", None)
_MODULES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase)
_MODULES += (nn.MultiheadAttention,)
_MAGNITUDES = ("weight.original0", "weight_g")
"""What weight normalisation calls the parameter that sets the size of a weight."""
_NAMES = ("Conv1D",)
"""Classes of linear maps stored as (in, out) that other packages have, by name."""


@dataclass(frozen=True)
class WeightMap:
    """A parameter as a linear map, or as several of one shape.

    Attributes:
        fan_in: Number of terms in every entry of the output.
        fan_out: Number of outputs, times the entries of a kernel.
        order: The parameter's axes, those of a stack of maps first, then out, then in; a kernel
            (out, in, *sides) is left in its own order.
        stacked: How many of these axes stack maps.
        bias: Name of the parameter that is added to the output; None where there is none.
        kernel: Whether it is that of a convolution.
    """

    fan_in: int
    fan_out: int
    order: tuple[int, ...]
    stacked: int = 0
    bias: str | None = None
    kernel: bool = False

    def rows(self, parameter: Tensor) -> Tensor:
        """Return a parameter of this layout as (all outputs of all maps, what they sum over)."""
        moved = parameter.permute(self.order)
        return moved.flatten(1) if self.kernel else moved.reshape(-1, self.fan_in)

    def matrix_shape(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return the shape of :meth:`rows` for a parameter of a shape, whose values stay away."""
        if self.kernel:
            return shape[self.order[0]], math.prod(shape[axis] for axis in self.order[1:])
        return math.prod(shape) // max(self.fan_in, 1), self.fan_in

    def spread(self, rows: Tensor, like: Tensor) -> Tensor:
        """Return a tensor in the parameter's own layout with one number for every output."""
        moved = self.rows(torch.ones(like.shape, dtype=rows.dtype)) * rows[:, None]
        inverse = [self.order.index(axis) for axis in range(like.ndim)]
        return moved.reshape([like.shape[axis] for axis in self.order]).permute(inverse)


@dataclass(frozen=True)
class Derived:
    """A tensor that is computed from parameters alone."""

    names: tuple[str, ...]
    direct: bool
    """Whether it is a view of the parameter."""
    product: bool = False
    """Whether it is a product of several, so that none of them is what is applied."""


@dataclass(frozen=True)
class MapCall:
    """A call of an operation that applies a linear map.

    Attributes:
        name: The parameter.
        names: All that the weight is computed from, where it is not the parameter itself.
        weight: The argument that holds it, or a part of it.
        contracted: The argument's axis that is summed over; None for a convolution.
        bias: Name of the parameter that the operation adds.
        direct: Whether the argument is a view of the parameter.
        run: The operation, as a function of that argument.
        transposed: Whether a convolution is transposed.
        groups: Number of groups of a convolution.
    """

    name: str
    names: tuple[str, ...]
    weight: Tensor
    contracted: int | None
    bias: str | None
    direct: bool
    run: Callable[[Tensor], Tensor]
    transposed: bool = False
    groups: int = 1

    @property
    def scale(self) -> str:
        """The parameter that sets the weight's size: under weight normalisation its magnitude."""
        magnitudes = [name for name in self.names if name.endswith(_MAGNITUDES)]
        return magnitudes[0] if magnitudes else self.name


Apply = Callable[[MapCall], Tensor]
"""What is done with a linear map: its result."""


class Watch(TorchDispatchMode):
    """Follow parameters through the operations of a pass and hand every linear map to `apply`."""

    def __init__(self, parameters: Mapping[str, Tensor], x: Tensor, apply: Apply) -> None:
        super().__init__()
        self._apply = apply
        self._sizes = {name: parameter.numel() for name, parameter in parameters.items()}
        self._known = WeakTensorKeyDictionary()
        for name, parameter in parameters.items():
            self._known[parameter] = Derived((name,), True)
        self._data = WeakTensorKeyDictionary()
        self._data[x] = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Run the operation and note what its result is made of."""
        kwargs = kwargs or {}
        call = self._map_call(func, args, kwargs)
        out = func(*args, **kwargs) if call is None else self._apply(call)
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        derived = self._derived(func, inputs)
        data = func.overloadpacket is aten.embedding or any(t in self._data for t in inputs)
        for leaf in (leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)):
            if data:
                self._data[leaf] = True
            elif derived is not None:
                self._known[leaf] = derived
        return out

    def _derived(self, func: Any, inputs: Sequence[Tensor]) -> Derived | None:
        known = [self._known[t] for t in inputs if t in self._known]
        if not known:
            return None
        product = func.overloadpacket in _LEFT_RIGHT or all(d.product for d in known)
        whole = [d for d in known if product or not d.product]
        names = tuple(dict.fromkeys(name for d in whole for name in d.names))
        return Derived(names, len(known) == 1 and known[0].direct and func.is_view, product)

    def _map_call(self, func: Any, args: Sequence, kwargs: dict) -> MapCall | None:
        packet = func.overloadpacket
        if packet is aten.convolution:
            call = self._call(func, args, kwargs, 1, None, args[2])
            kind = {"transposed": args[6], "groups": args[8]}
            return None if call is None else replace(call, **kind)
        if packet is _GROUPED:
            return self._call(func, args, kwargs, 1, -2, None)
        if packet not in _LEFT_RIGHT:
            return None
        left, right = _LEFT_RIGHT[packet]
        bias = args[0] if left == 1 else None
        first, second = args[left] in self._known, args[right] in self._known
        if first and second and not _is_transposed(args[right]):
            return None
        if second:
            axis = -2 if args[right].ndim > 1 else 0
            return self._call(func, args, kwargs, right, axis, bias)
        return self._call(func, args, kwargs, left, -1, bias)

    def _call(
        self,
        func: Any,
        args: Sequence,
        kwargs: dict,
        place: int,
        contracted: int | None,
        bias: Tensor | None,
    ) -> MapCall | None:
        weight = args[place]
        known = self._known.get(weight)
        if known is None or known.product or weight in self._data:
            return None
        name = max(known.names, key=lambda n: self._sizes[n])

        def run(weight: Tensor) -> Tensor:
            return func(*args[:place], weight, *args[place + 1 :], **kwargs)

        return MapCall(name, known.names, weight, contracted, self._bias(bias), known.direct, run)

    def _bias(self, tensor: Tensor | None) -> str | None:
        known = None if tensor is None else self._known.get(tensor)
        return known.names[0] if known is not None and known.direct else None


def _is_transposed(weight: Tensor) -> bool:
    return weight.ndim > 1 and weight.stride(-2) < weight.stride(-1)


def linear_maps(
    parameters: Mapping[str, Tensor],
    x: Tensor,
    run: Callable[[Tensor], object],
    modules: Mapping[str, nn.Module],
) -> dict[str, WeightMap]:
    """Return {parameter: what map it is} of all linear maps, in the order in which they run.

    Maps that this pass does not reach (experts that no token is routed to, a head that is not
    called) follow if their module is one of torch's.

    Args:
        parameters: The parameters by their names, as the model holds them now.
        x: The input.
        run: What is followed; the model as it is called.
        modules: The modules by their names.
    """
    found: dict[str, WeightMap] = {}

    def note(call: MapCall) -> Tensor:
        if parameters[call.name].ndim > 1 and call.name not in found:
            described = described_by(parameters[call.name].detach(), call)
            if described is not None:
                found[call.name] = described
        return call.run(call.weight)

    point = x.detach().clone()
    # A foreign model may refuse to be followed (scripted, or differentiated inside); what its
    # modules say is then all that is known.
    with contextlib.suppress(Exception), Watch(parameters, point, note):
        run(point)
    return completed(found, parameters, modules)


def completed(
    found: Mapping[str, WeightMap],
    parameters: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
) -> dict[str, WeightMap]:
    """Return the maps that a pass has shown with those that only torch's modules tell of."""
    result = dict(found)
    for name, described in standard_maps(parameters, modules).items():
        seen = result.setdefault(name, described)
        result[name] = replace(seen, bias=seen.bias or described.bias)
    return result


def standard_maps(
    parameters: Mapping[str, Tensor], modules: Mapping[str, nn.Module]
) -> dict[str, WeightMap]:
    """Return the linear maps that torch's own modules have, whether they are called or not."""
    table: dict[str, WeightMap] = {}
    for prefix, module in modules.items():
        named = type(module).__name__ in _NAMES
        if not isinstance(module, _MODULES) and not named:
            continue
        for key, p in module.named_parameters(recurse=False):
            name = f"{prefix}.{key}" if prefix else key
            if p.ndim > 1 and name in parameters:
                swapped = named or getattr(module, "transposed", False)
                described = _by_shape(tuple(p.shape), swapped, getattr(module, "groups", 1))
                beside = f"{name.removesuffix('weight')}bias"
                paired = name.endswith("weight") and beside in parameters
                table[name] = replace(described, bias=beside if paired else None)
    return table


def _by_shape(shape: tuple[int, ...], swapped: bool, groups: int = 1) -> WeightMap:
    """Return the map of a weight (out, in, *kernel), or (in, out, *kernel) where swapped."""
    kernel, axes = math.prod(shape[2:]), tuple(range(len(shape)))
    conv = len(shape) > 2
    if swapped:
        order = axes if conv else (1, 0)
        return WeightMap(shape[0] // groups * kernel, shape[1] * kernel, order, kernel=conv)
    return WeightMap(shape[1] * kernel, shape[0] * kernel, axes, kernel=conv)


def described_by(parameter: Tensor, call: MapCall) -> WeightMap | None:
    """Return what map a parameter is, from the axis of it that an operation sums over.

    None where the sum is over a part of an axis: the weight is no map of the whole parameter.
    """
    if call.contracted is None:
        described = _by_shape(tuple(parameter.shape), call.transposed, call.groups)
        return replace(described, bias=call.bias)
    weight, axes = call.weight, range(parameter.ndim)
    summed = call.contracted % weight.ndim
    other = [a for a in range(weight.ndim) if a != summed][-1:] if weight.ndim > 1 else []
    fan_in, fan_out = weight.shape[summed], math.prod(weight.shape[a] for a in other)
    into = _axes(parameter, fan_in, weight.stride(summed) if call.direct else None, ())
    out = [
        axis
        for a in other
        for axis in _axes(parameter, fan_out, weight.stride(a) if call.direct else None, into)
    ]
    if parameter.numel() % max(fan_in, 1) or (call.direct and not into and fan_in > 0):
        return None
    stack = [axis for axis in axes if axis not in (*into, *out)]
    return WeightMap(fan_in, fan_out, (*stack, *out, *into), len(stack), call.bias)


def _axes(
    parameter: Tensor, size: int, stride: int | None, taken: Sequence[int]
) -> tuple[int, ...]:
    """Return the parameter's axes that an axis of a given size and stride runs over.

    Where it is no view of the parameter, the last free axis of that size is taken.
    """
    free = [axis for axis in range(parameter.ndim) if axis not in taken]
    if stride is None:
        return tuple([axis for axis in free if parameter.shape[axis] == size][-1:] or free[-1:])
    found, covered = [], 1
    for axis in sorted(free, key=parameter.stride):
        if parameter.stride(axis) == stride * covered and covered < size:
            found.append(axis)
            covered *= parameter.shape[axis]
    return tuple(sorted(found)) or tuple(free[-1:])
