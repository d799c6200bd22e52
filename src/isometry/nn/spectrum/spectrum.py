"""How a Jacobian stretches: the law of lam = s^2 over its singular values s.

Small operators are written out and solved densely. Large ones are only multiplied: stochastic
Lanczos quadrature, after Golub and Kahan, needs products with J and J.T alone and returns the law
with error bars. An operator is anything with ``shape``, ``dtype``, ``device``, ``J @ V``,
``J.T @ U`` and ``to_dense()``; :class:`~isometry.nn.JacobianOperator` is one.
"""

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch

from isometry._checks import check_integer
from isometry._typing import Checked, Integer
from isometry.errors import AccuracyWarning
from isometry.nn._typing import Generator, Operator, Ranked, SpectrumMethod
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.nn.spectrum import lanczos
from isometry.nn.spectrum.dense import NOT_FINITE, name_of, spectrum_of, top_left_vector
from isometry.nn.spectrum.method import check_method, check_operator
from isometry.nn.spectrum.quadrature import Quadrature, combine, with_rank
from isometry.nn.spectrum.wide import precision_of, widened
from isometry.theory.spectrum import Spectrum

SCHEDULE = (40, 60, 90, 135)
"""Products each way at which Lanczos asks whether it has resolved the spectrum."""
COARSE = 0.1
"""Weight of a node from which on more products are worth it, or the cdf is warned of."""
_ENTRIES = 24_000
"""Entries of all probes together, where two to eight of them reach that."""


def singular_spectrum(
    J: Checked[Operator],
    method: SpectrumMethod = None,
    *,
    num_probes: Integer | None = None,
    num_matvecs: Integer | None = None,
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
        J: Operator of shape ``(n_out, n_in)``; of one in bfloat16 or float16 the vectors are
            float32.
        method: ``"dense"``, ``"lanczos"``, or ``None`` for dense up to 2048 singular values and
            2^26 entries.
        num_probes: Random starting vectors, all multiplied at once (Lanczos); ``None`` takes
            from 8 down to 2, the fewer the larger J.
        num_matvecs: Products with J, and as many with J.T, per probe (Lanczos); ``None`` goes on
            from 40 to at most 135 until the spectrum is resolved.
        reorthogonalise: Keep a basis and remove what rounding mixes back in. Without it the
            memory is three vectors a probe, the density is the same for about 40 products, and
            outliers are not told apart.
        max_basis_bytes: Bound on the memory of the basis,
            ``num_probes * num_matvecs * min(n_out, n_in)`` numbers; what is left to choose
            (``None``) is chosen to fit.
        generator: Source of the starting vectors; without one `torch.manual_seed` decides.
        progress: Called as ``progress(done, total)`` after every pair of products.

    Returns:
        The spectrum. ``standard_error`` is that of the cdf at every value, over probes (``None``
        when dense or with one probe); ``provenance`` says how it was found; ``unresolved`` is the
        range of levels whose values Lanczos has not told apart. Values that products in J's dtype
        cannot tell from zero, s below ``4 eps s_max``, are returned as zero, and so are as many
        as J's ``rank_bound`` leaves, where it has one: a row or column of zeros, a bottleneck,
        units that are switched off.

    Raises:
        TypeError: If ``J`` has another dtype, or a count is not an integer.
        ValueError: If ``method`` is unknown, a count is too small, J is empty or has a product
            that is not finite, or the basis that is asked for needs more than
            ``max_basis_bytes``.

    Warns:
        AccuracyWarning: If a part of the spectrum is not resolved.

    Notes:
        Dense: eigenvalues of the smaller Gram matrix in float64, which for a float32 J is exact
        wherever the products are (float32 products of 50 to 200 factors at c = 12, whose s span a
        factor 1e7, were right to 10 % at s = 1.0 eps s_max); a float64 J whose smallest s is below
        1e-4 of its largest goes through singular values instead.

        Lanczos, measured on products of N = 2000, float32, 8 probes, 60 products, against the dense
        spectrum: largest error of the cdf 0.008 at c = 0.1 and at c = 1. Near zero it resolves s
        only to about ``s_max * pi / (2 num_matvecs)``. Singular values all probes have converged
        to, from above or from below, are nodes of weight 1/min(n_out, n_in) exactly, so an
        outlier never smears the bulk.
    """
    return measure(
        J,
        method,
        num_probes=num_probes,
        num_matvecs=num_matvecs,
        reorthogonalise=reorthogonalise,
        max_basis_bytes=max_basis_bytes,
        generator=generator,
        progress=progress,
    ).spectrum


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A spectrum, and how to come by the direction in which J stretches most."""

    spectrum: Spectrum
    top_direction: Callable[[], torch.Tensor]
    """Returns the left singular vector of the largest value, for the price of one product."""


def measure(
    J: Checked[Operator],
    method: SpectrumMethod = None,
    *,
    num_probes: Integer | None = None,
    num_matvecs: Integer | None = None,
    reorthogonalise: bool = True,
    max_basis_bytes: Integer = 2**32,
    generator: Generator = None,
    progress: lanczos.Progress | None = None,
) -> Measurement:
    """Do what :func:`singular_spectrum` does, and keep what the largest value's vector needs."""
    generator = generator_or_fresh(generator)
    chosen, J = check_method(J, method), widened(J)
    if chosen == "dense":
        matrix = J.compact() if isinstance(J, Ranked) else J.to_dense()
        dense = spectrum_of(matrix, min(J.shape), precision_of(J))
        return Measurement(dense, lambda: top_left_vector(J, matrix, generator))
    A, seen = shorter_side(J, generator)
    size = int(seen.sum())
    if size == 0:
        zeros = Spectrum(np.zeros(min(J.shape)), provenance=f"lanczos, {name_of(precision_of(J))}")
        return Measurement(zeros, lambda: torch.zeros(J.shape[0], dtype=J.dtype, device=J.device))
    probes, schedule = _budget(A, size, num_probes, num_matvecs, reorthogonalise, max_basis_bytes)
    start = lanczos.random_probes(A, probes, seen, generator)
    recursion = lanczos.GolubKahan(A, start, schedule[-1], reorthogonalise=reorthogonalise)
    rank = min(J.rank_bound, size) if isinstance(J, Ranked) else size
    found = _resolve(recursion, schedule, size, rank, progress)
    return Measurement(_spectrum(found, recursion, J), lambda: _top_direction(J, A, recursion))


def _top_direction(J: Operator, A: Operator, recursion: lanczos.GolubKahan) -> torch.Tensor:
    """Return the largest left singular vector of J from the Lanczos basis."""
    bidiagonal = recursion.advance(recursion.steps)
    v = lanczos.top_vector(bidiagonal)
    return torch.nn.functional.normalize(J @ v if A is J else v, dim=0)


def _resolve(
    recursion: lanczos.GolubKahan,
    schedule: Sequence[int],
    size: int,
    rank: int,
    progress: lanczos.Progress | None,
) -> Quadrature:
    """Multiply until the spectrum is resolved, or more products would not resolve it.

    The unresolved part of values that reach down to 0 shrinks as products are added; an atom at 0
    does not, and is not worth them.

    Raises:
        ValueError: If a product is not finite.
    """
    unresolved, quadrature = 1.0, None
    for steps in schedule:
        bidiagonal = finite(recursion.advance(steps, progress))
        quadrature = combine(bidiagonal, lanczos.ritz_values(bidiagonal), size)
        quadrature = with_rank(quadrature, rank)
        low, high = quadrature.unresolved
        fine = quadrature.coarseness <= COARSE
        if (fine and high <= low) or high - low > 0.93 * unresolved:
            break
        unresolved = high - low if high > low else 1.0
    assert quadrature is not None
    return quadrature


def _spectrum(found: Quadrature, recursion: lanczos.GolubKahan, J: Operator) -> Spectrum:
    """Add the zeros that are known beforehand, and warn of what is not resolved."""
    known = min(J.shape) - found.size
    share = known / min(J.shape)
    error = found.standard_error
    low, high = (share + (1 - share) * level for level in found.unresolved)
    steps = f"{found.probes} probes, {recursion.steps} products each way"
    spectrum = Spectrum(
        np.concatenate([np.zeros(min(known, 1)), found.values]),
        np.concatenate([np.full(min(known, 1), share), (1 - share) * found.weights]),
        standard_error=None
        if error is None
        else (1 - share) * np.concatenate([np.zeros(min(known, 1)), error]),
        provenance=f"lanczos, {name_of(precision_of(J))}, {steps}, {found.separated} values apart",
        dimension=min(J.shape),
        unresolved=(low, high) if high > low else (0.0, 0.0),
    )
    if spectrum.unresolved[1] > 0:
        warnings.warn(_unresolved_message(spectrum, recursion), AccuracyWarning, stacklevel=4)
    elif found.coarseness > COARSE:
        message = _coarse_message(found.coarseness, recursion.steps)
        warnings.warn(message, AccuracyWarning, stacklevel=4)
    return spectrum


def estimate_seconds(
    J: Checked[Operator], *, num_probes: Integer | None = None, num_matvecs: Integer = 60
) -> float:
    """Estimate the time of the Lanczos route from one product each way.

    Args:
        J: The operator.
        num_probes: As in :func:`singular_spectrum`.
        num_matvecs: Products each way, at least 1.

    Returns:
        Seconds, without the reorthogonalisation; the first product of a model is often the
        slowest, so this errs on the long side.

    Raises:
        TypeError: If ``J`` is no operator, or a count is not an integer.
        ValueError: If a count is smaller than one.
    """
    check_operator(J)
    probes = _num_probes(min(J.shape), num_probes)
    steps = min(check_integer("num_matvecs", num_matvecs, minimum=1), *J.shape)
    probe = torch.ones(J.shape[1], probes, dtype=J.dtype, device=J.device)
    start = time.perf_counter()
    float((J.T @ (J @ probe)).sum())
    return steps * (time.perf_counter() - start)


def _num_probes(size: int, asked: Integer | None) -> int:
    """Return as many probes as bring the noise of the cdf, 1 / sqrt(2 probes size), to 0.5 %."""
    if asked is None:
        return min(max(math.ceil(_ENTRIES / size), 2), 8)
    return check_integer("num_probes", asked, minimum=1)


def _budget(
    A: Operator,
    size: int,
    num_probes: Integer | None,
    num_matvecs: Integer | None,
    reorthogonalise: bool,
    max_basis_bytes: Integer,
) -> tuple[int, list[int]]:
    """Return how many probes, and the numbers of products to stop at; what is free fits memory.

    Raises:
        ValueError: If the basis cannot fit.
    """
    probes = _num_probes(size, num_probes)
    asked = SCHEDULE if size > SCHEDULE[-1] else (size,)
    if num_matvecs is not None:
        asked = (check_integer("num_matvecs", num_matvecs, minimum=1),)
    schedule = sorted({min(steps, size) for steps in asked})
    if not reorthogonalise:
        return probes, schedule
    allowed = check_integer("max_basis_bytes", max_basis_bytes, minimum=1)
    fits = allowed // lanczos.basis_bytes(A, probes, 1)
    if num_matvecs is None and fits >= 1:
        schedule = [steps for steps in schedule if steps <= fits] or [int(fits)]
    if schedule[-1] > fits:
        needed = lanczos.basis_bytes(A, probes, schedule[-1])
        raise ValueError(
            f"`max_basis_bytes` is {allowed}; expected at least {needed} for {probes} "
            f"probes and {schedule[-1]} products. Lower `num_probes` or `num_matvecs`, raise it, "
            "or pass `reorthogonalise=False`."
        )
    return probes, schedule


def _unresolved_message(spectrum: Spectrum, recursion: lanczos.GolubKahan) -> str:
    """Say which values are not told apart, and what would."""
    low, high = spectrum.unresolved
    reach = math.sqrt(float(spectrum.values[spectrum.above_unresolved()][0]))
    return (
        f"{high - low:.0%} of the singular values, those below about {reach:.2g}, are not told "
        f"apart by {recursion.steps} products, so whether they are small or 0 is unresolved. Pass "
        f"`method='dense'`, or `num_matvecs={2 * recursion.steps}` to see down to half that value."
    )


def _coarse_message(coarseness: float, steps: int) -> str:
    """Say how coarse the nodes are, and how many products would refine them."""
    wanted = round(steps * coarseness / 0.06, -1)
    return (
        f"{coarseness:.0%} of the singular values are not told apart by {steps} products, so the "
        f"cdf may be off by {coarseness / 2:.2f}. Pass `num_matvecs={wanted:.0f}` or "
        "`method='dense'`."
    )


def shorter_side(J: Operator, generator: torch.Generator) -> tuple[Operator, torch.Tensor]:
    """Return J or J.T, and which entries of its input are seen at all: as few as can be.

    A row or column that is zero (a unit that ReLU has switched off, a pixel that a stride leaves
    out) gives exact zeros in products with random vectors. Leaving it out costs one pair of
    products and takes its zeros out of the spectrum before Lanczos, which would not resolve them.
    """
    columns = _nonzero(J.T, generator)
    rows = _nonzero(J, generator)
    return (J, columns) if columns.sum() <= rows.sum() else (J.T, rows)


def _nonzero(A: Operator, generator: torch.Generator) -> torch.Tensor:
    """Return which rows of A are not zero; two probes, since one may cancel by chance."""
    everything = torch.ones(A.shape[1], dtype=torch.bool, device=A.device)
    probes = lanczos.random_probes(A, 2, everything, generator)
    return (A @ probes.T).ne(0).any(dim=1)


def finite(bidiagonal: lanczos.Bidiagonalisation) -> lanczos.Bidiagonalisation:
    """Pass on what is finite.

    Raises:
        ValueError: If a product was not.
    """
    if not (np.isfinite(bidiagonal.alpha).all() and np.isfinite(bidiagonal.beta).all()):
        raise ValueError(NOT_FINITE)
    return bidiagonal
