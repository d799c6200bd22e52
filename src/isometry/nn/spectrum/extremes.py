"""The largest and smallest singular values of an operator, each to a known error.

Golub-Kahan bidiagonalisation from one starting vector, restarted with twice the products until the
residuals say that the wanted values have converged.
"""

import dataclasses

import numpy as np

from isometry._checks import check_integer, check_real
from isometry._result import Result
from isometry._typing import Checked, Float, Integer, Real
from isometry.errors import ConvergenceError
from isometry.nn._typing import Generator, Operator
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.nn.spectrum import lanczos
from isometry.nn.spectrum.spectrum import bidiagonalise, check_method


@dataclasses.dataclass(frozen=True)
class ExtremeSingularValues(Result):
    """Singular values at one end of the spectrum, the outermost first, each with its error.

    Attributes:
        s: The singular values.
        error: Estimates of their absolute errors, residual^2 / gap.
        num_matvecs: Steps taken, of one product with J and one with its transpose each.
    """

    s: Float[np.ndarray, "k"]
    error: Float[np.ndarray, "k"]
    num_matvecs: int


def largest_singular_values(
    J: Checked[Operator],
    k: Integer = 1,
    *,
    tolerance: Real = 1e-6,
    max_matvecs: Integer = 300,
    generator: Generator = None,
) -> ExtremeSingularValues:
    """Return the ``k`` largest singular values of ``J``, each to a known error.

    Args:
        J: The operator.
        k: How many, from 1 to ``min(J.shape)``.
        tolerance: Relative error at which to stop; a float32 J reaches about 1e-6.
        max_matvecs: Most products with J, and as many with J.T, to spend.
        generator: Source of the starting vector; without one `torch.manual_seed` decides.

    Returns:
        The values, descending, with ``error`` = residual^2 / gap, an estimate of how far each is
        from a singular value of J.

    Raises:
        ConvergenceError: If ``max_matvecs`` products do not reach ``tolerance``.
        TypeError: If ``J`` is neither float32 nor float64, or a count is not an integer.
        ValueError: If ``k`` is not in range, a tolerance is not positive, or a product is not
            finite.

    Notes:
        One starting vector sees one copy of a repeated singular value.
    """
    return _extremes(J, k, slice(None), tolerance, max_matvecs, generator)


def smallest_singular_values(
    J: Checked[Operator],
    k: Integer = 1,
    *,
    tolerance: Real = 1e-3,
    max_matvecs: Integer = 600,
    generator: Generator = None,
) -> ExtremeSingularValues:
    """Return the ``k`` smallest singular values of ``J``, each to a known error.

    Without an inverse these converge slowly, in about ``s_max / s_min`` products times a few; the
    dense route is the better one wherever it fits.

    Args:
        J: The operator.
        k: How many, from 1 to ``min(J.shape)``.
        tolerance: Relative error at which to stop.
        max_matvecs: Most products with J, and as many with J.T, to spend.
        generator: Source of the starting vector; without one `torch.manual_seed` decides.

    Returns:
        The values, ascending, with their errors as in :func:`largest_singular_values`.

    Raises:
        ConvergenceError: If ``max_matvecs`` products do not reach ``tolerance``.
        TypeError: If ``J`` is neither float32 nor float64, or a count is not an integer.
        ValueError: If ``k`` is not in range, a tolerance is not positive, or a product is not
            finite.
    """
    return _extremes(J, k, slice(None, None, -1), tolerance, max_matvecs, generator)


def _extremes(
    J: Checked[Operator],
    given: Integer,
    order: slice,
    tolerance: Real,
    max_matvecs: Integer,
    generator: Generator,
) -> ExtremeSingularValues:
    """Double the number of products until the first ``k`` values in ``order`` have converged.

    Raises:
        ConvergenceError: If they do not within ``max_matvecs``.
        ValueError: If ``k`` is out of range.
    """
    check_method(J, "lanczos")
    size = min(J.shape)
    k = check_integer("k", given, minimum=1)
    if k > size:
        raise ValueError(f"`k` is {k}; expected at most {size} for J of shape {tuple(J.shape)}.")
    tolerance = check_real("tolerance", tolerance, above=0.0)
    most = min(check_integer("max_matvecs", max_matvecs, minimum=k), size)
    generator, steps = generator_or_fresh(generator), min(max(2 * k, 20), most)
    while True:
        ritz = lanczos.ritz_values(bidiagonalise(J, 1, steps, True, generator, None))
        theta = ritz.theta[0]
        gap = np.abs(theta[:, None] - theta) + np.where(np.eye(len(theta)), np.inf, 0)
        residual = ritz.residuals[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.fmin(residual, residual**2 / gap.min(axis=0, initial=np.inf))
        s, error = theta[order][:k], error[order][:k]
        if steps == size or (error <= tolerance * s).all():
            return ExtremeSingularValues(s.copy(), error.copy(), steps)
        if steps == most:
            raise ConvergenceError(
                f"`max_matvecs` is {most} and the worst relative error is still "
                f"{(error / s).max():.1e}; expected {tolerance:.1e}. Raise it, loosen "
                "`tolerance`, or take the dense spectrum."
            )
        steps = min(2 * steps, most)
