"""A matrix known by its products: operands checked once, transpose, bridge to scipy."""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from isometry._typing import Checked
from isometry.nn.sandbox.precision import wide_on_cpu
from isometry.nn.tape.tape import Tape
from isometry.nn.tape.waist import Waist, compact, narrowest

_WORTH_A_LOOK = 64
"""Up to this many singular values a matrix is written out without asking for its rank."""
_WORTH_THE_PRODUCTS = 0.9
"""Share of the singular values that may not be zero where a compact matrix is made."""


class MatrixFreeOperator(ABC):
    """Real matrix given by batched products with it and with its transpose."""

    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def _rows(self, V: Tensor) -> Tensor:
        """Map the rows of ``(k, n_in)`` to the rows of ``(k, n_out)``."""

    @abstractmethod
    def _transposed_rows(self, U: Tensor) -> Tensor:
        """Map the rows of ``(k, n_out)`` to the rows of ``(k, n_in)`` by the transpose."""

    @property
    @abstractmethod
    def T(self) -> "MatrixFreeOperator":  # noqa: N802 (the field's name)
        """The transpose; transposing twice gives the original object."""

    @abstractmethod
    def to_dense(self) -> Tensor:
        """Return the whole matrix."""

    @property
    def rank_bound(self) -> int:
        """The largest rank that the matrix can have, as far as its recording shows.

        It is the number of entries that count of the narrowest value between input and output:
        those that the input reaches and the output reads.
        """
        return min(self.shape) if self._waist is None else min(*self.shape, self._waist.rank)

    def compact(self) -> Tensor:
        """Return a matrix with the same singular values, of which some zeros may be left out.

        Returns:
            The whole matrix, or one that has its columns (n_in) or else its rows (n_out).
        """
        if min(self.shape) < _WORTH_A_LOOK:
            return self.to_dense()
        if self.rank_bound > _WORTH_THE_PRODUCTS * min(self.shape):
            return self.to_dense()
        assert self._tape is not None
        assert self._waist is not None
        return compact(self._tape, self._waist)

    @property
    def _tape(self) -> Tape | None:
        """The recording, where products replay one."""
        return None

    @cached_property
    def _waist(self) -> Waist | None:
        return None if self._tape is None else narrowest(self._tape)

    def __matmul__(self, v: Checked[Tensor]) -> Tensor:
        """Multiply a vector ``(n_in,)`` or, all at once, the columns of ``(n_in, k)``.

        Raises:
            TypeError: If the operand is not a tensor of the operator's dtype.
            ValueError: If its shape or device differs, or an entry of it or of the product is
                NaN or infinite.
        """
        operand = self._checked(v)
        block = operand[None] if operand.ndim == 1 else operand.T
        if len(block) == 0:
            return operand.new_zeros(self.shape[0], 0)
        product = self._rows(block.contiguous())
        if not torch.isfinite(product).all():
            raise ValueError(
                f"The product overflows {self.dtype} or is undefined at this `x`; expected finite "
                "entries. Use float64, or an `x` away from singularities such as sqrt at 0."
            )
        return product[0] if operand.ndim == 1 else product.T

    def to_scipy(self) -> LinearOperator:
        """Return a float64 ``scipy.sparse.linalg.LinearOperator`` with the same products.

        Returns:
            An operator on NumPy arrays. Operands are cast to the operator's dtype and back, so
            the accuracy stays that of the model.
        """
        return _ScipyBridge(self)

    def _checked(self, v: object) -> Tensor:
        n = self.shape[1]
        if not isinstance(v, Tensor):
            raise TypeError(
                f"The operand is a {type(v).__name__}; expected a torch.Tensor of shape ({n},) or "
                f"({n}, k). For NumPy arrays use `to_scipy()`."
            )
        if v.dtype != self.dtype:
            raise TypeError(
                f"The operand has dtype {v.dtype}; expected {self.dtype}, that of `x`. "
                "Convert it with `v.to(J.dtype)`, or measure a float64 model."
            )
        if v.ndim not in (1, 2) or v.shape[0] != n:
            raise ValueError(
                f"The operand has shape {tuple(v.shape)}; expected ({n},) or ({n}, k). "
                "Flatten a tensor in the shape of `x` or `f(x)` first."
            )
        if v.device != self.device:
            raise ValueError(f"The operand is on {v.device}; expected {self.device}.")
        if not torch.isfinite(v).all():
            raise ValueError("The operand contains NaN or infinite entries; expected finite ones.")
        return v.detach()


class Transpose(MatrixFreeOperator):
    """The transpose of another map, sharing its linearisation."""

    def __init__(self, original: MatrixFreeOperator) -> None:
        self._original = original
        self.shape = (original.shape[1], original.shape[0])
        self.dtype, self.device = original.dtype, original.device

    def __repr__(self) -> str:
        return f"{self._original!r}.T"

    @property
    def T(self) -> MatrixFreeOperator:  # noqa: N802 (the field's name)
        """The original operator."""
        return self._original

    @property
    def rank_bound(self) -> int:
        """The largest rank that the matrix can have."""
        return self._original.rank_bound

    def compact(self) -> Tensor:
        """Return a matrix with the same singular values, some zeros left out."""
        return self._original.compact().T

    def to_dense(self) -> Tensor:
        """Return the whole matrix, of shape ``(n_in, n_out)`` in the original's words."""
        return self._original.to_dense().T

    def _rows(self, V: Tensor) -> Tensor:
        return self._original._transposed_rows(V)

    def _transposed_rows(self, U: Tensor) -> Tensor:
        return self._original._rows(U)


class _ScipyBridge(LinearOperator):
    """Products on float64 arrays."""

    def __init__(self, matrix: MatrixFreeOperator) -> None:
        super().__init__(np.dtype(np.float64), matrix.shape)
        self._matrix = matrix

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return _through(self._matrix, x.reshape(-1))

    def _rmatvec(self, x: np.ndarray) -> np.ndarray:
        return _through(self._matrix.T, x.reshape(-1))

    def _matmat(self, X: np.ndarray) -> np.ndarray:
        return _through(self._matrix, X)

    def _rmatmat(self, X: np.ndarray) -> np.ndarray:
        return _through(self._matrix.T, X)


def _through(matrix: MatrixFreeOperator, array: np.ndarray) -> np.ndarray:
    operand = torch.from_numpy(np.array(array, dtype=np.float64))
    product = matrix @ operand.to(dtype=matrix.dtype, device=matrix.device)
    return wide_on_cpu(product).numpy()
