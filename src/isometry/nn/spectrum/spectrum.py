"""How a Jacobian stretches: the law of lam = s^2 over its singular values s.

Small operators are written out and solved densely. Large ones are only multiplied: stochastic
Lanczos quadrature, after Golub and Kahan, needs products with J and J.T alone and returns the law
with error bars. An operator is anything with ``shape``, ``dtype``, ``device``, ``J @ V``,
``J.T @ U`` and ``to_dense()``; :class:`~isometry.nn.JacobianOperator` is one.
"""

import math
import time
import warnings

import numpy as np
import torch

from isometry._checks import check_integer, check_kind, suggest
from isometry._typing import Checked, Integer
from isometry.errors import AccuracyWarning
from isometry.nn._typing import Generator, Operator, SpectrumMethod
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.nn.spectrum import lanczos
from isometry.nn.spectrum.quadrature import combine
from isometry.theory.spectrum import Spectrum

DENSE_LIMIT = 1024
"""Up to this many singular values the dense route takes no more products than Lanczos."""
DENSE_ENTRIES = 2**26
"""Up to this many entries (512 MiB in float64) J is written out without being asked to."""


def singular_spectrum(
    J: Checked[Operator],
    method: SpectrumMethod = None,
    *,
    num_probes: Integer = 8,
    num_matvecs: Integer = 60,
    reorthogonalise: bool = True,
    max_basis_bytes: Integer = 2**32,
    generator: Generator = None,
    progress: lanczos.Progress | None = None,
) -> Spectrum:
    """Return the law of lam = s^2 over the singular values of ``J``.

    A rectangular J has ``min(n_out, n_in)`` singular values and the law is over those: the zeros
    that the longer side adds to ``J.T J`` or ``J J.T`` are not counted, zeros that come from a
    loss of rank are.

    Args:
        J: Operator of shape ``(n_out, n_in)``, float32 or float64.
        method: ``"dense"``, ``"lanczos"``, or ``None`` for dense up to 1024 singular values and
            2^26 entries.
        num_probes: Random starting vectors, all multiplied at once (Lanczos).
        num_matvecs: Products with J, and as many with J.T, per probe (Lanczos).
        reorthogonalise: Keep both bases and remove what rounding mixes back in. Without it the
            memory is four vectors a probe, the density is the same for about 40 products, and
            outliers are not told apart.
        max_basis_bytes: Bound on the memory of the two bases,
            ``num_probes * num_matvecs * (n_out + n_in)`` numbers.
        generator: Source of the starting vectors; without one `torch.manual_seed` decides.
        progress: Called as ``progress(done, total)`` after every pair of products.

    Returns:
        The spectrum. ``standard_error`` is that of the cdf at every value, over probes (``None``
        when dense or with one probe); ``provenance`` says how it was found. Values that products
        in J's dtype cannot tell from zero, s below ``4 eps s_max``, are returned as zero.

    Raises:
        TypeError: If ``J`` is neither float32 nor float64, or a count is not an integer.
        ValueError: If ``method`` is unknown, a count is too small, J is empty or has a product
            that is not finite, or the bases need more than ``max_basis_bytes``.

    Warns:
        AccuracyWarning: If ``num_matvecs`` is too small to tell the smaller values apart.

    Notes:
        Dense: eigenvalues of the smaller Gram matrix in float64, which for a float32 J is exact
        wherever the products are (float32 products of 50 to 200 factors at c = 12, whose s span a
        factor 1e7, were right to 10 % at s = 1.0 eps s_max); a float64 J whose smallest s is below
        1e-4 of its largest goes through singular values instead.

        Lanczos, measured on products of N = 2000, float32, 8 probes, 60 products, against the dense
        spectrum: largest error of the cdf 0.008 at c = 0.1 and at c = 1. Near zero it resolves s
        only to about ``s_max * pi / (2 num_matvecs)``: at c = 4 the same error is 0.20, and it
        warns. Singular values all probes have converged to are nodes of weight
        1/min(n_out, n_in) exactly, so an outlier never smears the bulk.
    """
    if check_method(J, method) == "dense":
        return matrix_spectrum(J.to_dense())
    size = min(J.shape)
    num_probes = check_integer("num_probes", num_probes, minimum=1)
    steps = min(check_integer("num_matvecs", num_matvecs, minimum=1), size)
    if reorthogonalise:
        allowed = check_integer("max_basis_bytes", max_basis_bytes, minimum=1)
        _check_memory(lanczos.basis_bytes(J, num_probes, steps), allowed)
    bidiagonal = bidiagonalise(J, num_probes, steps, reorthogonalise, generator, progress)
    quadrature = combine(bidiagonal, lanczos.ritz_values(bidiagonal), size)
    if quadrature.coarseness > 0.1:
        warnings.warn(_coarse_message(quadrature.coarseness, steps), AccuracyWarning, stacklevel=2)
    told = f"{num_probes} probes, {steps} products each way, {quadrature.separated} values apart"
    return Spectrum(
        quadrature.values,
        quadrature.weights,
        standard_error=quadrature.standard_error,
        provenance=f"lanczos, {_name(J.dtype)}, {told}",
        dimension=size,
    )


def estimate_seconds(
    J: Checked[Operator], *, num_probes: Integer = 8, num_matvecs: Integer = 60
) -> float:
    """Estimate the time of the Lanczos route from one product each way.

    Args:
        J: The operator.
        num_probes: As in :func:`singular_spectrum`.
        num_matvecs: As in :func:`singular_spectrum`.

    Returns:
        Seconds, without the reorthogonalisation; the first product of a model is often the
        slowest, so this errs on the long side.

    Raises:
        TypeError: If ``J`` is no operator, or a count is not an integer.
        ValueError: If a count is smaller than one.
    """
    check_operator(J)
    num_probes = check_integer("num_probes", num_probes, minimum=1)
    steps = min(check_integer("num_matvecs", num_matvecs, minimum=1), *J.shape)
    probe = torch.ones(J.shape[1], num_probes, dtype=J.dtype, device=J.device)
    start = time.perf_counter()
    float((J.T @ (J @ probe)).sum())
    return steps * (time.perf_counter() - start)


def check_operator(J: object) -> None:
    """Refuse what has no products.

    Raises:
        TypeError: With what is expected in its place.
    """
    if isinstance(J, torch.nn.Module) or not isinstance(J, Operator):
        advice = " Make one: `JacobianOperator(model, x)`." if callable(J) else ""
        raise TypeError(
            f"`J` is a {type(J).__name__}; expected an operator such as `JacobianOperator`.{advice}"
        )
    if len(J.shape) != 2:
        raise TypeError(f"`J` has shape {tuple(J.shape)}; expected (n_out, n_in).")


def check_method(J: Checked[Operator], method: object) -> str:
    """Return the route to take for ``J``.

    Raises:
        TypeError: If it is no operator, or its dtype is too coarse to measure with.
        ValueError: If it is empty or the method unknown.
    """
    check_operator(J)
    if J.dtype not in {torch.float32, torch.float64}:
        raise TypeError(
            f"`J` has dtype {J.dtype}; expected torch.float32 or torch.float64. Convert the model "
            "and its input with `.float()` first."
        )
    if min(J.shape) < 1:
        raise ValueError(f"`J` has shape {tuple(J.shape)}; expected at least one row and column.")
    if method is None:
        small = min(J.shape) <= DENSE_LIMIT and J.shape[0] * J.shape[1] <= DENSE_ENTRIES
        return "dense" if small else "lanczos"
    if not isinstance(method, str) or method not in {"dense", "lanczos"}:
        hint = suggest(method, ("dense", "lanczos")) if isinstance(method, str) else ""
        raise ValueError(f"`method` is {method!r}; expected 'dense', 'lanczos' or None.{hint}")
    return method


def _check_memory(needed: int, allowed: int) -> None:
    """Refuse bases that do not fit.

    Raises:
        ValueError: With the bytes they need.
    """
    if needed > allowed:
        raise ValueError(
            f"`max_basis_bytes` is {allowed}; expected at least {needed} for this many probes and "
            "products. Lower `num_probes` or `num_matvecs`, raise it, or pass "
            "`reorthogonalise=False`."
        )


def _coarse_message(coarseness: float, steps: int) -> str:
    """Say how much of the spectrum Lanczos could not tell apart, and what would."""
    wanted = round(steps * coarseness / 0.06, -1)
    return (
        f"{coarseness:.0%} of the singular values are not told apart by {steps} products, so the "
        f"cdf may be off by {coarseness / 2:.2f}. Pass `num_matvecs={wanted:.0f}` or "
        "`method='dense'`."
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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
    dense = _checked_matrix(J).detach().to("cpu", torch.float64)
    scale = float(dense.abs().max())
    if not np.isfinite(scale):
        raise ValueError(_NOT_FINITE)
    if scale > _LARGEST / math.sqrt(dense.numel()):
        raise ValueError(
            f"`J` has an entry of size {scale:.3g}, whose square float64 cannot hold; expected "
            "smaller numbers. Divide `J` by a factor and multiply lam by its square."
        )
    lam = _squared_singular_values(dense / scale) if scale > 0 else torch.zeros(min(dense.shape))
    lam = lam.to(torch.float64).numpy()
    lam[lam < lanczos.rounding_floor(J.dtype) ** 2 * lam[-1]] = 0.0
    return Spectrum(scale**2 * lam, provenance=f"dense, {_name(J.dtype)}")


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


def _squared_singular_values(dense: torch.Tensor) -> torch.Tensor:
    """Return lam ascending: from the Gram matrix, or from J where that loses the small ones."""
    gram = dense @ dense.T if dense.shape[0] <= dense.shape[1] else dense.T @ dense
    lam = torch.linalg.eigvalsh(gram).clamp(min=0)
    if float(lam[0]) < 1e-8 * float(lam[-1]):
        lam = torch.linalg.svdvals(dense).flip(0) ** 2
    return lam


_NOT_FINITE = (
    "`J` has a product that is not finite; expected finite numbers. Look for NaN or infinite "
    "parameters, or an overflow in the forward pass."
)


def bidiagonalise(
    J: Operator,
    num_probes: int,
    steps: int,
    reorthogonalise: bool,
    generator: Generator,
    progress: lanczos.Progress | None,
) -> lanczos.Bidiagonalisation:
    """Start on the shorter side of J, so that the law is over min(n_out, n_in) values.

    Raises:
        ValueError: If a product is not finite.
    """
    A = J if J.shape[1] <= J.shape[0] else J.T
    start = lanczos.random_probes(A, num_probes, generator_or_fresh(generator))
    result = lanczos.golub_kahan(
        A, start, steps, reorthogonalise=reorthogonalise, progress=progress
    )
    if not (np.isfinite(result.alpha).all() and np.isfinite(result.beta).all()):
        raise ValueError(_NOT_FINITE)
    return result
