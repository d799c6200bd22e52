"""Rules for products, convolutions, normalisations, softmax, and pools that average."""

import torch
from torch import Tensor

from isometry.nn.tape.maps import Diagonal, LinearMap, Permute, Reshape, Scale, SumTo
from isometry.nn.tape.maps_dense import (
    ConvGeometry,
    Convolution,
    Folded,
    LogSoftmaxSlope,
    RightProduct,
    SoftmaxSlope,
    Standardise,
)
from isometry.nn.tape.rules import AtenCall, Term, call_by_name, conform, rule


def _product(call: AtenCall, left: str, right: str, factor: float | int = 1) -> list[Term]:
    """Both sides of a (batched) matrix product, times a factor."""
    a, b = call[left], call[right]
    scale = [] if factor == 1 else [Scale(float(factor))]
    terms = []
    if call.depends(left):
        terms.append(Term(call.nodes[id(a)], [RightProduct(call.hold(b)), *scale]))
    if call.depends(right):
        swap = Permute([*range(b.ndim - 2), b.ndim - 1, b.ndim - 2])
        maps = [swap, RightProduct(call.hold(a).mT), swap, *scale]
        terms.append(Term(call.nodes[id(b)], maps))
    return terms


@rule("mm", "bmm")
def product(call: AtenCall) -> list[Term]:
    return _product(call, "self", "mat2")


@rule("addmm", "baddbmm")
def affine_product(call: AtenCall) -> list[Term]:
    """``beta self + alpha left right``."""
    left, right = ("mat1", "mat2") if call.name == "addmm" else ("batch1", "batch2")
    terms = _product(call, left, right, call["alpha"])
    if call.depends("self") and call["beta"] != 0:
        bias = call["self"]
        maps = [*conform(bias, call.output), Scale(float(call["beta"]))]
        terms.append(Term(call.nodes[id(bias)], maps))
    return terms


@rule("mv")
def matrix_vector(call: AtenCall) -> list[Term]:
    a, b = call["self"], call["vec"]
    terms = []
    if call.depends("self"):
        column = [a.shape[0], 1]
        maps = [RightProduct(call.hold(b)[:, None]), Reshape(column, column[:1])]
        terms.append(Term(call.nodes[id(a)], maps))
    if call.depends("vec"):
        terms.append(Term(call.nodes[id(b)], [RightProduct(call.hold(a).mT)]))
    return terms


@rule("dot")
def inner_product(call: AtenCall) -> list[Term]:
    partner = {"self": call["tensor"], "tensor": call["self"]}
    return [
        Term(node, [Diagonal(call.hold(partner[name])), SumTo(x.shape, [1]), Reshape([1], [])])
        for name, x, node in call.dependent
    ]


def _kernel(weight: Tensor) -> Tensor:
    """Lay a 2-d kernel out as the CPU's fast single-precision kernels read it."""
    fast = weight.device.type == "cpu" and weight.dtype in {torch.float32, torch.bfloat16}
    if weight.ndim == 4 and fast and torch.backends.mkldnn.is_available():
        return weight.contiguous(memory_format=torch.channels_last)
    return weight


@rule("convolution")
def convolution(call: AtenCall) -> list[Term] | None:
    """A convolution, plain or transposed, of a dependent input with a constant kernel."""
    if call.depends("weight", "bias") or max(call["output_padding"]) >= min(call["stride"]):
        return None
    x = call["input"]
    geometry = ConvGeometry(
        call["stride"], call["padding"], call["dilation"], call["transposed"],
        call["output_padding"], call["groups"],
    )  # fmt: skip
    kernel = _kernel(call.hold(call["weight"]))
    return [Term(call.nodes[id(x)], [Convolution(kernel, geometry, x.shape, call.output.shape)])]


def _gain(weight: Tensor | None, shape: list[int], call: AtenCall) -> list[LinearMap]:
    if weight is None:
        return []
    return [Diagonal(call.hold(weight).to(call.output.dtype).reshape(shape))]


@rule("native_layer_norm")
def layer_norm(call: AtenCall) -> list[Term] | None:
    """``(x - mean) rstd weight`` over the last dimensions."""
    if call.depends("weight", "bias"):
        return None
    x, shape = call["input"], list(call["normalized_shape"])
    dims = tuple(range(-len(shape), 0))
    rstd = (x.var(dims, correction=0, keepdim=True) + call["eps"]).rsqrt()
    slope = Standardise((x - x.mean(dims, keepdim=True)) * rstd, rstd, dims)
    return [Term(call.nodes[id(x)], [slope, *_gain(call["weight"], shape, call)])]


@rule("native_group_norm")
def group_norm(call: AtenCall) -> list[Term] | None:
    """``(x - mean) rstd weight`` over groups of channels and all positions."""
    if call.depends("weight", "bias"):
        return None
    x, groups = call["input"], call["group"]
    split = [x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]]
    grouped, dims = x.reshape(split), tuple(range(1 - x.ndim, 0))
    rstd = (grouped.var(dims, correction=0, keepdim=True) + call["eps"]).rsqrt()
    slope = Standardise((grouped - grouped.mean(dims, keepdim=True)) * rstd, rstd, dims)
    gain = _gain(call["weight"], [1, -1, *[1] * (x.ndim - 2)], call)
    maps = [Reshape(x.shape, split), slope, Reshape(split, x.shape), *gain]
    return [Term(call.nodes[id(x)], maps)]


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
      "_batch_norm_with_update", "_batch_norm_no_update", "cudnn_batch_norm",
      "miopen_batch_norm")  # fmt: skip
def batch_norm(call: AtenCall) -> list[Term] | None:
    """Batch normalisation with the running statistics, or through those of the batch."""
    if call.depends("weight", "bias", "running_mean", "running_var"):
        return None
    x = call["input"]
    eps = call["epsilon"] if call["eps"] is None else call["eps"]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    gain = _gain(call["weight"], shape, call)
    if call["training"] or call.name == "_batch_norm_with_update":
        dims = tuple(d - x.ndim for d in range(x.ndim) if d != 1)
        rstd = (x.var(dims, correction=0, keepdim=True) + eps).rsqrt()
        slope = Standardise((x - x.mean(dims, keepdim=True)) * rstd, rstd, dims)
    else:
        slope = Diagonal((call["running_var"] + eps).rsqrt().to(x.dtype).reshape(shape))
    return [Term(call.nodes[id(x)], [slope, *gain])]


@rule("_softmax", "_safe_softmax", "_log_softmax")
def softmax(call: AtenCall) -> list[Term]:
    """Softmax and its logarithm along one dimension."""
    x, y = call["self"], call.output
    dim = call["dim"] % max(x.ndim, 1) - x.ndim
    log = call.name == "_log_softmax"
    slope = LogSoftmaxSlope(y.exp(), dim) if log else SoftmaxSlope(call.hold(y), dim)
    return [Term(call.nodes[id(x)], [*conform(x, y), slope])]


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
      "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
      "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d",
      "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
      "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa")  # fmt: skip
def pool(call: AtenCall) -> list[Term] | None:
    """Ops that are linear in an image and treat every image of a batch alike."""
    if len(call.dependent) != 1:
        return None
    (name, x, node), *_ = call.dependent
    func, others = call.func, {k: v for k, v in call.operands.items() if k != name}
    return [Term(node, [Folded(lambda v: call_by_name(func, {**others, name: v}), x.shape)])]
