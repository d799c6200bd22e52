"""Linear maps that mix entries: products, convolutions, normalisations, softmax, any one op.

As in ``maps``, every map takes ``k`` stacked tangents of shape ``(k, *shape)``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from isometry.nn.tape.maps import LinearMap


@dataclass(frozen=True, eq=False)
class RightProduct(LinearMap):
    """Multiply ``(..., n, m)`` from the right by a matrix, or by one matrix per batch entry."""

    matrix: Tensor  # (m, p) or (batch, m, p)

    def apply(self, v: Tensor) -> Tensor:
        if self.matrix.ndim == 2:
            return torch.matmul(v, self.matrix)
        k, batch, n, m = v.shape
        rows = v.transpose(0, 1).reshape(batch, k * n, m)
        product = torch.bmm(rows, self.matrix)
        return product.reshape(batch, k, n, -1).transpose(0, 1)

    @property
    def transpose(self) -> LinearMap:
        return RightProduct(self.matrix.mT)


@dataclass(frozen=True, eq=False)
class ConvGeometry:
    """The integers of one convolution."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    output_padding: Sequence[int]
    groups: int

    def adjoint(self, weight: Tensor, source: Sequence[int], target: Sequence[int]):
        """Return the geometry of the transposed map of a convolution from source to target."""
        extra = [0] * len(self.stride)
        if not self.transposed:
            spatial = zip(
                source[2:], target[2:], weight.shape[2:], self.stride, self.padding, self.dilation,
                strict=True,
            )  # fmt: skip
            extra = [n - ((m - 1) * s - 2 * p + d * (w - 1) + 1) for n, m, w, s, p, d in spatial]
        return ConvGeometry(
            self.stride, self.padding, self.dilation, not self.transposed, extra, self.groups
        )


@dataclass(frozen=True, eq=False)
class Convolution(LinearMap):
    """Convolve with a constant kernel; the stack is folded into the batch."""

    weight: Tensor
    geometry: ConvGeometry
    source: Sequence[int]
    target: Sequence[int]

    def apply(self, v: Tensor) -> Tensor:
        g = self.geometry
        y = torch.convolution(
            v.flatten(0, 1), self.weight, None, g.stride, g.padding, g.dilation, g.transposed,
            g.output_padding, g.groups,
        )  # fmt: skip
        return y.unflatten(0, (v.shape[0], -1))

    @property
    def transpose(self) -> LinearMap:
        adjoint = self.geometry.adjoint(self.weight, self.source, self.target)
        return Convolution(self.weight, adjoint, self.target, self.source)


@dataclass(frozen=True, eq=False)
class Standardise(LinearMap):
    """Differentiate ``z = (x - mean) * rstd`` over ``dims``: symmetric in its two sides.

    With ``mean`` left out (root mean square normalisation) ``centred`` is false.
    """

    z: Tensor
    rstd: Tensor
    dims: tuple[int, ...]  # negative: of one tangent or of the stack alike
    centred: bool = True

    def apply(self, v: Tensor) -> Tensor:
        along = (v * self.z).mean(self.dims, keepdim=True)
        rest = torch.addcmul(v, self.z, along, value=-1)
        if self.centred:
            rest = rest.sub_(v.mean(self.dims, keepdim=True))
        return rest.mul_(self.rstd)

    @property
    def transpose(self) -> LinearMap:
        return self

    def fitted(self, v: Tensor) -> LinearMap:
        like = v[0]
        if self.z.stride() == like.stride() or 0 in like.stride():
            return self
        z = torch.empty_like(like).copy_(self.z)
        return Standardise(z, self.rstd, self.dims, self.centred)


@dataclass(frozen=True, eq=False)
class SoftmaxSlope(LinearMap):
    """Differentiate a softmax ``p`` over ``dim`` (negative): ``p v - p <p, v>``."""

    p: Tensor
    dim: int

    def apply(self, v: Tensor) -> Tensor:
        weighted = v * self.p
        return weighted.addcmul_(self.p, weighted.sum(self.dim, keepdim=True), value=-1)

    @property
    def transpose(self) -> LinearMap:
        return self


@dataclass(frozen=True, eq=False)
class LogSoftmaxSlope(LinearMap):
    """Differentiate a log-softmax over ``dim`` (negative): ``v - <p, v>`` or its transpose."""

    p: Tensor
    dim: int
    adjoint: bool = False

    def apply(self, v: Tensor) -> Tensor:
        if self.adjoint:
            return torch.addcmul(v, self.p, v.sum(self.dim, keepdim=True), value=-1)
        return v - (v * self.p).sum(self.dim, keepdim=True)

    @property
    def transpose(self) -> LinearMap:
        return LogSoftmaxSlope(self.p, self.dim, not self.adjoint)


@dataclass(frozen=True, eq=False)
class CumulativeSum(LinearMap):
    dim: int  # negative
    reverse: bool = False

    def apply(self, v: Tensor) -> Tensor:
        if self.reverse:
            return v.flip(self.dim).cumsum(self.dim).flip(self.dim)
        return v.cumsum(self.dim)

    @property
    def transpose(self) -> LinearMap:
        return CumulativeSum(self.dim, not self.reverse)


@dataclass(frozen=True, eq=False)
class Folded(LinearMap):
    """Call an op that is linear and acts on each entry of the first axis alone."""

    op: Callable[[Tensor], Tensor]
    source: Sequence[int]
    adjoint: bool = False

    def apply(self, v: Tensor) -> Tensor:
        folded = v.flatten(0, 1)
        if not self.adjoint:
            return self.op(folded).unflatten(0, (v.shape[0], -1))
        x = v.new_zeros(folded.shape[0], *self.source[1:]).requires_grad_()
        with torch.enable_grad():
            (w,) = torch.autograd.grad(self.op(x), x, folded)
        return w.unflatten(0, (v.shape[0], -1))

    @property
    def transpose(self) -> LinearMap:
        return Folded(self.op, self.source, not self.adjoint)


@dataclass(frozen=True, eq=False)
class LocalGraph:
    """The autograd graph of one op at its recorded operands, kept and walked ``k`` times."""

    name: str
    leaf: Tensor
    output: Tensor
    dual: Tensor = field(init=False)  # a cotangent of zeros: the vjp is linear in it
    image: Tensor = field(init=False)

    def __post_init__(self) -> None:
        dual = torch.zeros_like(self.output, requires_grad=True)
        with torch.enable_grad():
            (image,) = torch.autograd.grad(self.output, self.leaf, dual, create_graph=True)
        object.__setattr__(self, "dual", dual)
        object.__setattr__(self, "image", image)

    def vjp(self, u: Tensor) -> Tensor:
        return torch.autograd.grad(self.output, self.leaf, u, retain_graph=True)[0]

    def jvp(self, v: Tensor) -> Tensor:
        return torch.autograd.grad(self.image, self.dual, v, retain_graph=True)[0]


@dataclass(frozen=True, eq=False)
class Local(LinearMap):
    """Differentiate any one op through its own autograd graph: the general fallback."""

    graph: LocalGraph
    adjoint: bool = False
    generic: ClassVar[bool] = True

    def apply(self, v: Tensor) -> Tensor:
        product = self.graph.vjp if self.adjoint else self.graph.jvp
        return torch.stack([product(row) for row in v])

    @property
    def transpose(self) -> LinearMap:
        return Local(self.graph, not self.adjoint)
