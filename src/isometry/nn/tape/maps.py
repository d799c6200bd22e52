"""Linear maps that move, scale or add entries of a stack of tangents, and their transposes.

Every map takes tensors of shape ``(k, *shape)``: ``k`` tangents of one value, multiplied at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A linear map applied to ``k`` stacked tangents; it never writes to its argument."""

    aliases: ClassVar[bool] = False  # the result may share memory with the argument
    overlaps: ClassVar[bool] = False  # the result may hold one entry of memory many times
    in_place: ClassVar[bool] = False  # `apply_` may overwrite the argument

    def apply(self, v: Tensor) -> Tensor:
        raise NotImplementedError

    def apply_(self, v: Tensor) -> Tensor:
        """Apply the map; the caller gives up ``v``."""
        return self.apply(v)

    def add_to(self, total: Tensor, v: Tensor) -> Tensor:
        """Add the image of ``v`` to ``total`` in place."""
        return total.add_(self.apply(v))

    @property
    def transpose(self) -> "LinearMap":
        raise NotImplementedError

    def fitted(self, v: Tensor) -> "LinearMap":  # noqa: ARG002
        """Return the map with its constants laid out in memory as ``v`` is."""
        return self


@dataclass(frozen=True, eq=False)
class Identity(LinearMap):
    aliases: ClassVar[bool] = True
    in_place: ClassVar[bool] = True

    def apply(self, v: Tensor) -> Tensor:
        return v

    @property
    def transpose(self) -> LinearMap:
        return self


@dataclass(frozen=True, eq=False)
class Scale(LinearMap):
    factor: float
    in_place: ClassVar[bool] = True

    def apply(self, v: Tensor) -> Tensor:
        return v * self.factor

    def apply_(self, v: Tensor) -> Tensor:
        return v.mul_(self.factor)

    def add_to(self, total: Tensor, v: Tensor) -> Tensor:
        return total.add_(v, alpha=self.factor)

    @property
    def transpose(self) -> LinearMap:
        return self


@dataclass(frozen=True, eq=False)
class Diagonal(LinearMap):
    """Multiply by ``d``, which broadcasts to the tangent's shape without enlarging it."""

    d: Tensor
    in_place: ClassVar[bool] = True

    def apply(self, v: Tensor) -> Tensor:
        return v * self.d

    def apply_(self, v: Tensor) -> Tensor:
        return v.mul_(self.d)

    def add_to(self, total: Tensor, v: Tensor) -> Tensor:
        return total.addcmul_(v, self.d)

    @property
    def transpose(self) -> LinearMap:
        return self

    def fitted(self, v: Tensor) -> LinearMap:
        like = v[0]
        if self.d.shape != like.shape or self.d.stride() == like.stride() or 0 in like.stride():
            return self
        return Diagonal(torch.empty_like(like).copy_(self.d))


@dataclass(frozen=True, eq=False)
class Cast(LinearMap):
    source: torch.dtype
    target: torch.dtype

    def apply(self, v: Tensor) -> Tensor:
        return v.to(self.target)

    @property
    def transpose(self) -> LinearMap:
        return Cast(self.target, self.source)


@dataclass(frozen=True, eq=False)
class Move(LinearMap):
    source: torch.device
    target: torch.device

    def apply(self, v: Tensor) -> Tensor:
        return v.to(self.target)

    @property
    def transpose(self) -> LinearMap:
        return Move(self.target, self.source)


@dataclass(frozen=True, eq=False)
class Reshape(LinearMap):
    source: Sequence[int]
    target: Sequence[int]
    aliases: ClassVar[bool] = True

    def apply(self, v: Tensor) -> Tensor:
        return v.reshape(v.shape[0], *self.target)

    @property
    def transpose(self) -> LinearMap:
        return Reshape(self.target, self.source)


@dataclass(frozen=True, eq=False)
class Permute(LinearMap):
    dims: Sequence[int]  # of one tangent: the stacking dimension stays in front
    aliases: ClassVar[bool] = True

    def apply(self, v: Tensor) -> Tensor:
        return v.permute(0, *(d + 1 for d in self.dims))

    @property
    def transpose(self) -> LinearMap:
        return Permute(sorted(range(len(self.dims)), key=self.dims.__getitem__))


@dataclass(frozen=True, eq=False)
class Expand(LinearMap):
    """Broadcast from one shape to another."""

    source: Sequence[int]
    target: Sequence[int]
    aliases: ClassVar[bool] = True
    overlaps: ClassVar[bool] = True

    def apply(self, v: Tensor) -> Tensor:
        padded = (1,) * (len(self.target) - len(self.source)) + tuple(self.source)
        return v.reshape(v.shape[0], *padded).expand(v.shape[0], *self.target)

    @property
    def transpose(self) -> LinearMap:
        return SumTo(self.target, self.source)


@dataclass(frozen=True, eq=False)
class SumTo(LinearMap):
    """Sum over the dimensions that broadcasting from ``target`` to ``source`` would create."""

    source: Sequence[int]
    target: Sequence[int]
    aliases: ClassVar[bool] = True

    def apply(self, v: Tensor) -> Tensor:
        padded = (1,) * (len(self.source) - len(self.target)) + tuple(self.target)
        pairs = enumerate(zip(self.source, padded, strict=True), start=1)
        dims = [i for i, (n, m) in pairs if m == 1 and n != 1]
        total = v.sum(dims, keepdim=True) if dims else v
        return total.reshape(v.shape[0], *self.target)

    @property
    def transpose(self) -> LinearMap:
        return Expand(self.target, self.source)


@dataclass(frozen=True, eq=False)
class Slice(LinearMap):
    """Take a sub-array: ``index`` has one ``int`` or ``slice`` with a positive step per axis."""

    shape: Sequence[int]
    index: Sequence[slice | int]
    aliases: ClassVar[bool] = True

    def apply(self, v: Tensor) -> Tensor:
        return v[(slice(None), *self.index)]

    @property
    def transpose(self) -> LinearMap:
        return Embed(self.shape, self.index)


def _zeros(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Return zeros whose axes are ordered in memory as those of ``like``."""
    if like.ndim != len(shape) or like.is_contiguous():
        return like.new_zeros(shape)
    order = sorted(range(like.ndim), key=like.stride, reverse=True)
    back = sorted(range(like.ndim), key=order.__getitem__)
    return like.new_zeros([shape[axis] for axis in order]).permute(back)


@dataclass(frozen=True, eq=False)
class Embed(LinearMap):
    """Put an array into the sub-array of zeros that ``Slice`` takes."""

    shape: Sequence[int]
    index: Sequence[slice | int]

    def apply(self, v: Tensor) -> Tensor:
        zeros = _zeros(v, [v.shape[0], *self.shape])
        zeros[(slice(None), *self.index)] = v
        return zeros

    def add_to(self, total: Tensor, v: Tensor) -> Tensor:
        total[(slice(None), *self.index)].add_(v)
        return total

    @property
    def transpose(self) -> LinearMap:
        return Slice(self.shape, self.index)


@dataclass(frozen=True, eq=False)
class Selection(LinearMap):
    """Fill a tensor with copies of entries: ``y[i] = x[index[i]]``, or 0 where it is negative."""

    index: Tensor  # int64, flat positions in the source, in the shape of the target
    shape: Sequence[int]

    def apply(self, v: Tensor) -> Tensor:
        flat = v.reshape(v.shape[0], -1)
        chosen = flat.index_select(1, self.index.flatten().clamp_min(0))
        return chosen.reshape(v.shape[0], *self.index.shape) * (self.index >= 0)

    @property
    def transpose(self) -> LinearMap:
        return Placement(self.index, self.shape)


@dataclass(frozen=True, eq=False)
class Placement(LinearMap):
    """Add every entry at the position that ``Selection`` copies it from."""

    index: Tensor
    shape: Sequence[int]

    def apply(self, v: Tensor) -> Tensor:
        masked = (v * (self.index >= 0)).reshape(v.shape[0], -1)
        zeros = v.new_zeros(v.shape[0], math.prod(self.shape))
        zeros.index_add_(1, self.index.flatten().clamp_min(0), masked)
        return zeros.reshape(v.shape[0], *self.shape)

    @property
    def transpose(self) -> LinearMap:
        return Selection(self.index, self.shape)
