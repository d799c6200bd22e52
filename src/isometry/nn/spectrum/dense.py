"""The spectrum of a Jacobian that is written out: eigenvalues of the smaller Gram matrix."""

import math

import numpy as np
import torch

from isometry._checks import check_kind
from isometry._typing import Checked
from isometry.nn.sandbox._typing import Operator
from isometry.nn.sandbox.precision import wide_on_cpu
from isometry.nn.spectrum.lanczos import rounding_floor
from isometry.theory.spectrum import Spectrum


def matrix_spectrum(J: Checked[torch.Tensor]) -> Spectrum:
    """Return the spectrum of a Jacobian that is written out, in float64.

    Args:
        J: Matrix of shape (n_out, n_in), float32 or float64.

    Returns:
        All ``min(J.shape)`` values of lam = s^2; those with s below ``4 eps s_max`` in J's dtype
        are returned as zero, since products in that dtype cannot tell them from zero.

    Raises:
        TypeError: If ``J`` is not a tensor of real floating-point numbers.
        ValueError: If it is no matrix, is empty, or an entry or its square is not finite.
    """
    return spectrum_of(_checked_matrix(J), min(J.shape), J.dtype)


def spectrum_of(J: torch.Tensor, dimension: int, precision: torch.dtype) -> Spectrum:
    """Return the spectrum of a matrix that has ``dimension`` singular values or, but zeros, all.

    Args:
        J: The matrix.
        dimension: How many singular values there are.
        precision: In which its entries were computed.

    Raises:
        ValueError: If an entry or its square is not finite.
    """
    matrix = J.detach()
    scale = float(matrix.abs().max())
    if not math.isfinite(scale):
        raise ValueError(NOT_FINITE)
    if scale > _LARGEST / math.sqrt(matrix.numel()):
        raise ValueError(
            f"`J` has an entry of size {scale:.3g}, whose square float64 cannot hold; expected "
            "smaller numbers. Divide `J` by a factor and multiply lam by its square."
        )
    lam = np.zeros(dimension)
    if scale > 0:
        lam[-min(matrix.shape) :] = _squared_singular_values(matrix, scale).cpu().numpy()
    lam[lam < rounding_floor(precision) ** 2 * lam[-1]] = 0.0
    return Spectrum(scale**2 * lam, provenance=f"dense, {name_of(precision)}")


_LARGEST = 1e154
"""Largest s whose square float64 holds, rounded down."""


def _checked_matrix(J: object) -> torch.Tensor:
    """Return ``J`` if it is a matrix of real numbers.

    Raises:
        TypeError: If it is anything else.
        ValueError: If it is no matrix or empty.
    """
    matrix = check_kind("J", J, torch.Tensor, "a torch.Tensor of shape (n_out, n_in)")
    if not matrix.is_floating_point():
        raise TypeError(
            f"`J` has dtype {matrix.dtype}; expected real floating-point numbers. "
            "Convert it first, for example by `J.double()`."
        )
    if matrix.ndim != 2 or matrix.numel() == 0:
        raise ValueError(
            f"`J` has shape {tuple(matrix.shape)}; expected (n_out, n_in), both at least 1."
        )
    return matrix


def _squared_singular_values(matrix: torch.Tensor, scale: float) -> torch.Tensor:
    """Return the lam of ``matrix / scale``, ascending, in float64 on the CPU.

    The Gram matrix loses the lam below 1e-15 of the largest. Products in float32 hide more than
    that, so its entries need no singular values; those of a float64 matrix do where it matters.
    """
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = torch.zeros(len(short), len(short), dtype=torch.float64)
    for part in short.split(_COLUMNS, dim=1):
        columns = wide_on_cpu(part) / scale
        for top in range(0, len(short), _ROWS):  # the lower triangle, by rows of blocks
            rows = slice(top, top + _ROWS)
            gram[rows, : rows.stop].addmm_(columns[rows], columns[: rows.stop].T)
    lam = torch.linalg.eigvalsh(gram, UPLO="L").clamp(min=0)
    if matrix.dtype == torch.float64 and float(lam[0]) < 1e-8 * float(lam[-1]):
        lam = torch.linalg.svdvals(matrix.cpu() / scale).flip(0) ** 2
    return lam


_ROWS = 256
"""Rows of the Gram matrix that are summed at once, left of the diagonal."""
_COLUMNS = 2048
"""Columns of a matrix that are converted to float64 at once."""

NOT_FINITE = (
    "`J` has a product that is not finite; expected finite numbers. Look for NaN or infinite "
    "parameters, or an overflow in the forward pass."
)


def top_left_vector(J: Operator, compact: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the largest left singular vector of ``J`` from a matrix with its columns or rows."""
    shares_columns = compact.shape[1] == J.shape[1]
    matrix = compact.T if shares_columns else compact
    u = torch.randn(matrix.shape[0], generator=generator, dtype=matrix.dtype).to(matrix.device)
    for _ in range(20):
        u = matrix @ (matrix.T @ torch.nn.functional.normalize(u, dim=0))
    return torch.nn.functional.normalize(J @ u if shares_columns else u, dim=0)


def name_of(dtype: torch.dtype) -> str:
    """Return ``"float32"`` for torch.float32."""
    return str(dtype).removeprefix("torch.")
