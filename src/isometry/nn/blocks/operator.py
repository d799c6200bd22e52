"""A stretch of a recorded pass as an operator: a matrix that is only multiplied."""

from math import prod

from torch import Tensor

from isometry.nn.blocks.blocks import Block
from isometry.nn.blocks.segment import Segment
from isometry.nn.tape import MatrixFreeOperator, Tape, Transpose, whole


class SegmentOperator(MatrixFreeOperator):
    """The Jacobian of a stretch of a recorded pass, times a factor, plus one of the identity."""

    def __init__(self, segment: Segment, shift: float = 0.0, factor: float = 1.0) -> None:
        self._segment, self._shift, self._factor = segment, shift, factor
        self.shape = (prod(segment.target_shape), prod(segment.source_shape))
        self.dtype, self.device = segment.options["dtype"], segment.options["device"]

    @classmethod
    def of_block(cls, block: Block, size: float = 1.0) -> "SegmentOperator":
        """Return the block's own Jacobian, its skip included, were its branch ``size`` as large."""
        return cls(block.segment, block.skip - size * block.inside, size)

    @property
    def route(self) -> str:
        """How products are computed, in words."""
        return self._segment.route

    @property
    def T(self) -> Transpose:  # noqa: N802 (the field's name)
        """The transpose."""
        return Transpose(self)

    def to_dense(self) -> Tensor:
        """Return the matrix, in blocks over the shorter side."""
        ends = (self._segment.source_layout, self._segment.target_layout)
        if self.shape[0] <= self.shape[1]:
            dense = whole(self._segment.vjp, *reversed(ends))
        else:
            dense = whole(self._segment.jvp, *ends).T
        if self._plain:
            return dense
        dense = self._factor * dense
        dense.diagonal().add_(self._shift)
        return dense

    @property
    def _tape(self) -> Tape | None:
        return self._segment.tape if self._plain else None

    @property
    def _plain(self) -> bool:
        return self._shift == 0.0 and self._factor == 1.0

    def _rows(self, V: Tensor) -> Tensor:
        pushed = self._segment.jvp(V.reshape(-1, *self._segment.source_shape)).flatten(1)
        return pushed if self._plain else self._factor * pushed + self._shift * V

    def _transposed_rows(self, U: Tensor) -> Tensor:
        pulled = self._segment.vjp(U.reshape(-1, *self._segment.target_shape)).flatten(1)
        return pulled if self._plain else self._factor * pulled + self._shift * U
