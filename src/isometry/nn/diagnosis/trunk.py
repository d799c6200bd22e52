"""The residual stream as an operator, and what direction its largest singular value stretches."""

from math import prod

import torch
from torch import Tensor

from isometry.nn._typing import Operator
from isometry.nn.blocks.segment import Segment
from isometry.nn.jacobian.operator import LinearMap, Transpose

_ROWS = 64
"""Rows of the identity that `to_dense` pulls back at once."""


class SegmentOperator(LinearMap):
    """The Jacobian of a stretch of a recorded pass."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self.shape = (prod(segment.target_shape), prod(segment.source_shape))
        self.dtype, self.device = segment.options["dtype"], segment.options["device"]

    @property
    def T(self) -> Transpose:  # noqa: N802 (the field's name)
        """The transpose."""
        return Transpose(self)

    def to_dense(self) -> Tensor:
        """Return the matrix, by rows."""
        eye = torch.eye(self.shape[0], dtype=self.dtype, device=self.device)
        return torch.cat([self._transposed_rows(rows) for rows in eye.split(_ROWS)])

    def _rows(self, V: Tensor) -> Tensor:
        return self._segment.jvp(V.reshape(-1, *self._segment.source_shape)).flatten(1)

    def _transposed_rows(self, U: Tensor) -> Tensor:
        return self._segment.vjp(U.reshape(-1, *self._segment.target_shape)).flatten(1)


def same_products(one: Operator, other: Operator, generator: torch.Generator) -> bool:
    """Return whether the transposes give the same product with one random vector."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    tolerance = torch.finfo(one.dtype).eps ** 0.5
    probe = torch.randn(one.shape[0], generator=generator, dtype=one.dtype).to(one.device)
    expected, got = one.T @ probe, other.T @ probe
    return float((expected - got).norm()) <= tolerance * float(expected.norm())


def top_direction(J: Operator, generator: torch.Generator, *, steps: int = 10) -> Tensor:
    """Return the left singular vector of an outlier, by power iteration: the gap makes it fast."""
    v = torch.randn(J.shape[1], generator=generator, dtype=J.dtype).to(J.device)
    for _ in range(steps):
        v = J.T @ (J @ (v / v.norm()))
    u = J @ (v / v.norm())
    return u / u.norm()


def common_part(u: Tensor) -> tuple[float, dict[int, float]]:
    """Return how much of a unit tensor is one constant, and how much is constant along each axis.

    Axes of length under six are left out: a random vector is a sixth constant along them.
    """
    whole = float(u.mean() ** 2 * u.numel())
    along = {
        axis: float((u.mean(axis) ** 2).sum() * size)
        for axis, size in enumerate(u.shape)
        if size >= 6
    }
    return whole, along
