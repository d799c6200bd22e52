"""Rules for calls that copy, move, join, select and sum entries."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from isometry.nn.sandbox.precision import widest
from isometry.nn.tape.maps import (
    Diagonal,
    Embed,
    Expand,
    Identity,
    LinearMap,
    Permute,
    Reshape,
    Scale,
    Selection,
    Slice,
    SumTo,
)
from isometry.nn.tape.maps_dense import CumulativeSum
from isometry.nn.tape.rules import AtenCall, Term, cast, rule


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "flatten")
def reshape(call: AtenCall) -> list[Term] | None:
    """The same entries in another shape; a view in another dtype is refused."""
    if call.output.dtype != call["self"].dtype:
        return None
    return [Term(n, [Reshape(x.shape, call.output.shape)]) for _, x, n in call.dependent]


@rule("permute", "transpose", "t", "swapaxes", "swapdims")
def permute(call: AtenCall) -> list[Term]:
    """The order of the axes, read off a tensor whose axes all differ in length."""
    (_, x, node), *_ = call.dependent
    marked = call.rerun({"self": torch.empty(tuple(range(2, 2 + x.ndim)), device="meta")})
    return [Term(node, [Permute([n - 2 for n in marked.shape])])]


@rule("expand", "expand_as")
def expand(call: AtenCall) -> list[Term]:
    return [Term(n, [Expand(x.shape, call.output.shape)]) for _, x, n in call.dependent]


def _at(ndim: int, dim: int, entry: slice | int) -> list[slice | int]:
    index: list[slice | int] = [slice(None)] * ndim
    index[dim] = entry
    return index


def _pieces(call: AtenCall) -> Iterator[slice | int]:
    """Yield what each output of a slicing call takes along its dimension."""
    x, dim = call["self"], call["dim"]
    if call.name == "slice":
        start, stop, step = slice(call["start"], call["end"], call["step"]).indices(x.shape[dim])
        yield slice(start, max(start, stop), step)
    elif call.name == "select":
        yield call["index"] % x.shape[dim]
    elif call.name == "unbind":
        yield from range(x.shape[dim])
    else:
        start = 0
        for piece in call.outputs:
            yield slice(start, start + piece.shape[dim])
            start += piece.shape[dim]


@rule("slice", "select", "unbind", "split", "split_with_sizes", "unsafe_split", "chunk",
      "unsafe_chunk", "unsafe_split_with_sizes")  # fmt: skip
def take(call: AtenCall) -> list[Term]:
    """Sub-arrays along one dimension."""
    x = call["self"]
    node = call.nodes[id(x)]
    return [
        Term(node, [Slice(x.shape, _at(x.ndim, call["dim"], piece))], i)
        for i, piece in enumerate(_pieces(call))
    ]


@rule("cat", "stack")
def join(call: AtenCall) -> list[Term]:
    """Every operand goes to its own place in zeros."""
    like, dim, start = call.output, call["dim"], 0
    terms = []
    for i, x in enumerate(call["tensors"]):
        stop = start + (x.shape[dim] if call.name == "cat" and x.ndim == like.ndim else 0)
        node = call.node(x)
        if node is not None:
            index = _at(like.ndim, dim, i if call.name == "stack" else slice(start, stop))
            terms.append(Term(node, [*cast(x, like), Embed(like.shape, index)]))
        start = stop
    return terms


@rule("constant_pad_nd")
def pad(call: AtenCall) -> list[Term]:
    """Cut where the padding is negative, then embed."""
    x, padding = call["self"], call["pad"]
    inner: list[slice | int] = [slice(None)] * x.ndim
    outer: list[slice | int] = [slice(None)] * x.ndim
    for i in range(len(padding) // 2):
        before, after, n = padding[2 * i], padding[2 * i + 1], x.shape[-1 - i]
        inner[-1 - i] = slice(max(0, -before), n + min(0, after))
        outer[-1 - i] = slice(max(0, before), max(0, before) + n + min(0, before) + min(0, after))
    maps = [Slice(x.shape, inner), Embed(call.output.shape, outer)]
    return [Term(call.nodes[id(x)], maps)]


@rule("flip", "roll", "repeat", "gather", "index", "index_select", "take", "tril", "triu",
      "diagonal", "diag_embed", "unfold", "as_strided", "slice_scatter", "select_scatter",
      "diagonal_scatter", "index_copy", "masked_scatter", "masked_select", "im2col",
      "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
      "replication_pad2d", "replication_pad3d", "pixel_shuffle", "pixel_unshuffle",
      "channel_shuffle", "index_put", "scatter")  # fmt: skip
def copying(call: AtenCall) -> list[Term] | None:
    """Find where each entry comes from by running the op on the entries' positions."""
    if call["accumulate"] or call["reduce"] is not None:
        return None
    kind = widest(call.output.device)
    if kind == torch.float32 and any(x.numel() >= 2**24 for _, x, _ in call.dependent):
        return None  # positions beyond that are not whole numbers in float32
    data = {k: v for k, v in call.operands.items() if isinstance(v, Tensor) and _is_data(v)}
    blank: dict[str, Any] = {k: torch.zeros_like(v, dtype=kind) for k, v in data.items()}
    if isinstance(call["value"], (int, float)):
        blank["value"] = 0
    terms = []
    for name, x, node in call.dependent:
        positions = torch.arange(1, x.numel() + 1, dtype=kind, device=x.device)
        sources = call.rerun(blank | {name: positions.reshape(x.shape)})
        terms.append(Term(node, [Selection(sources.round().long() - 1, x.shape)]))
    return terms


def _is_data(value: Tensor) -> bool:
    return value.is_floating_point()


def positions_of(x: Tensor) -> Tensor:
    """Return the flat position of every entry."""
    return torch.arange(x.numel(), device=x.device).reshape(x.shape)


@rule("max", "min", "sort", "topk", "kthvalue", "median", "nanmedian", "mode", "cummax", "cummin")
def order_statistic(call: AtenCall) -> list[Term] | None:
    """Values along a dimension that come with the indices they were found at."""
    if len(call.outputs) != 2:
        return None
    x, (values, indices), dim = call["self"], call.outputs, call["dim"]
    if x.ndim == 0:
        return None
    dim = -1 if dim is None else dim
    if indices.ndim < x.ndim:
        indices = indices.unsqueeze(dim)
    chosen = positions_of(x).gather(dim, indices).reshape(values.shape)
    return [Term(call.nodes[id(x)], [Selection(chosen, x.shape)])]


@rule("max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d",
      "adaptive_max_pool3d")  # fmt: skip
def max_pool(call: AtenCall) -> list[Term]:
    """Copies of the largest entries; their indices are frozen at the recorded input."""
    x, (values, indices) = call["self"], call.outputs
    spatial = 3 if "3d" in call.name else 2
    planes = math.prod(x.shape[:-spatial])
    offset = torch.arange(planes, device=x.device)[:, None] * math.prod(x.shape[-spatial:])
    chosen = (indices.reshape(planes, -1) + offset).reshape(values.shape)
    return [Term(call.nodes[id(x)], [Selection(chosen, x.shape)])]


def _reduced(call: AtenCall) -> tuple[list[int], list[int]]:
    """Return the reduced dimensions and the shape that keeps them with length 1."""
    x, dim = call["self"], call["dim"]
    dims = [dim] if isinstance(dim, int) else list(dim or range(x.ndim))
    dims = [d % x.ndim for d in dims] if x.ndim else []
    return dims, [1 if i in dims else n for i, n in enumerate(x.shape)]


def _summed(call: AtenCall) -> list[LinearMap]:
    _, kept = _reduced(call)
    return [SumTo(call["self"].shape, kept), Reshape(kept, call.output.shape)]


@rule("sum", "mean")
def total(call: AtenCall) -> list[Term]:
    (_, x, node), *_ = call.dependent
    factor = call.output.numel() / x.numel() if call.name == "mean" else 1
    scale = [Scale(float(factor))] if factor != 1 else []
    return [Term(node, [Identity(), *cast(x, call.output), *_summed(call), *scale])]


def _weighted(call: AtenCall, weight: Tensor) -> list[Term]:
    """A sum of entries times a weight: the derivative of any scalar reduction."""
    return [Term(call.nodes[id(call["self"])], [Diagonal(weight), *_summed(call)])]


@rule("var", "std", "var_mean", "std_mean")
def variance(call: AtenCall) -> list[Term] | None:
    """The variance or standard deviation along dimensions, with or without the mean."""
    if call.func._overloadname not in {"correction", "correction_names"}:
        return None
    x = call["self"]
    dims, kept = _reduced(call)
    count = math.prod(x.shape[d] for d in dims)
    correction = 1 if call["correction"] is None else call["correction"]
    weight = 2 * (x - x.mean(dims, keepdim=True)) / (count - correction)
    if call.name.startswith("std"):
        weight = weight / (2 * call.output.reshape(kept))
    terms = _weighted(call, weight)
    if len(call.outputs) == 2:
        terms.append(Term(terms[0].node, [*_summed(call), Scale(1 / count)], 1))
    return terms


@rule("linalg_vector_norm")
def euclidean_norm(call: AtenCall) -> list[Term] | None:
    """The 2-norm; zero vectors get a zero derivative, as autograd has it."""
    x = call["self"]
    if call["ord"] != 2 or call.output.dtype != x.dtype:
        return None
    norm = call.output.reshape(_reduced(call)[1])
    return _weighted(call, torch.where(norm == 0, torch.zeros_like(x), x / norm))


@rule("logsumexp")
def logsumexp(call: AtenCall) -> list[Term]:
    return _weighted(call, torch.exp(call["self"] - call.output.reshape(_reduced(call)[1])))


@rule("cumsum")
def cumsum(call: AtenCall) -> list[Term] | None:
    x = call["self"]
    if x.ndim == 0 or call.output.dtype != x.dtype:
        return None
    return [Term(call.nodes[id(x)], [CumulativeSum(call["dim"] % x.ndim - x.ndim)])]
