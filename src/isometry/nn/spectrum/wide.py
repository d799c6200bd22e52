"""An operator in half precision, measured with vectors in single precision.

Sixteen bits hold a product but no orthogonal basis and no sum of squares: the vectors of the
recursion, their inner products and the matrix that is written out are float32, and are rounded to
the operator's own type only to be multiplied. What the operator's rounding hides stays hidden.
"""

import torch
from torch import Tensor

from isometry.nn.sandbox._typing import Operator, Ranked

NARROW = (torch.bfloat16, torch.float16)
"""Types that are measured through wider vectors."""


class Widened:
    """Products in float32 around those of an operator in ``precision``."""

    dtype = torch.float32

    def __init__(self, narrow: Operator) -> None:
        self._narrow = narrow
        self.shape, self.device, self.precision = narrow.shape, narrow.device, narrow.dtype

    @property
    def T(self) -> "Widened":  # noqa: N802 (the field's name)
        """The transpose."""
        return Widened(self._narrow.T)

    @property
    def rank_bound(self) -> int:
        """The largest rank that the matrix can have."""
        return self._narrow.rank_bound if isinstance(self._narrow, Ranked) else min(self.shape)

    def __matmul__(self, v: Tensor) -> Tensor:
        """Multiply a vector, or the columns of a matrix."""
        return (self._narrow @ v.to(self.precision)).to(self.dtype)

    def to_dense(self) -> Tensor:
        """Return the whole matrix."""
        return self._narrow.to_dense().to(self.dtype)

    def compact(self) -> Tensor:
        """Return a matrix with the same singular values, some zeros left out."""
        if not isinstance(self._narrow, Ranked):
            return self.to_dense()
        return self._narrow.compact().to(self.dtype)


def widened(J: Operator) -> Operator:
    """Return an operator whose vectors are at least float32."""
    return Widened(J) if J.dtype in NARROW else J


def precision_of(J: Operator) -> torch.dtype:
    """Return the type in which products are computed: it decides what rounding hides."""
    return J.precision if isinstance(J, Widened) else J.dtype
