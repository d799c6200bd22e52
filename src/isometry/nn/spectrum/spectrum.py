"""How a Jacobian stretches: the law of lam = s^2 over its singular values s.

Small operators are written out and solved densely. Large ones are only multiplied: stochastic
Lanczos quadrature, after Golub and Kahan, needs products with J and J.T alone and returns the law
with error bars. An operator is anything with ``shape``, ``dtype``, ``device``, ``J @ V``,
``J.T @ U`` and ``to_dense()``; :class:`~isometry.nn.JacobianOperator` is one.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch

from isometry._checks import check_count
from isometry._typing import Checked, Integer
from isometry._words import Auto
from isometry.errors import AccuracyWarning
from isometry.nn.sandbox._typing import Generator, Operator, Progress, Ranked, SpectrumMethod
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.nn.sandbox.reporting import reporting
from isometry.nn.spectrum import lanczos
from isometry.nn.spectrum.budget import budget
from isometry.nn.spectrum.dense import NOT_FINITE, name_of, spectrum_of, top_left_vector
from isometry.nn.spectrum.inputs import Restricted, Side, heavy_inputs, shorter_side
from isometry.nn.spectrum.method import DENSE_LIMIT, check_method
from isometry.nn.spectrum.quadrature import Quadrature, combine, joined, with_rank
from isometry.nn.spectrum.wide import precision_of, widened
from isometry.theory.spectrum import Spectrum

COARSE = 0.1
"""Weight of a node from which on more products are worth it, or the cdf is warned of."""
_FIRST_FEW, _FIRST_MANY = 20, 30
"""Products to begin with where the heavy inputs are measured apart: the few have a small part in
the whole, and the others are resolved sooner without their outliers."""


def singular_spectrum(
    J: Checked[Operator],
    method: SpectrumMethod = None,
    *,
    num_probes: Checked[Integer | Auto] = "auto",
    num_matvecs: Checked[Integer | Auto] = "auto",
    reorthogonalise: bool = True,
    max_basis_bytes: Integer = 2**32,
    generator: Generator = None,
    progress: Progress | None = None,
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
        num_probes: Random starting vectors, all multiplied at once (Lanczos); ``"auto"`` takes
            from 8 down to 2, the fewer the larger J.
        num_matvecs: Products with J, and as many with J.T, per probe (Lanczos); ``"auto"`` goes on
            from 40 to at most 135 until the spectrum is resolved.
        reorthogonalise: Keep a basis and remove what rounding mixes back in. Without it the
            memory is three vectors a probe, the density is the same for about 40 products, and
            outliers are not told apart.
        max_basis_bytes: Bound on the memory of the basis,
            ``num_probes * num_matvecs * min(n_out, n_in)`` numbers; what is left to choose
            (``"auto"``) is chosen to fit.
        generator: Source of the starting vectors; without one `torch.manual_seed` decides.
        progress: Called as ``progress(done, total)`` after every pair of products, or block of
            rows of a matrix that is written out (dense).

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
        outlier never smears the bulk. Up to 1 % of the inputs whose columns are far longer than
        the others' are measured by themselves, since their outliers would take a step each: for
        ViT 6 x 192, 191 entries of the class token, 80 products in place of 270, at the same
        distance (0.007) from 6 probes of 360; that share bounds what it moves the cdf by.
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
    num_probes: Checked[Integer | Auto] = "auto",
    num_matvecs: Checked[Integer | Auto] = "auto",
    reorthogonalise: bool = True,
    max_basis_bytes: Integer = 2**32,
    generator: Generator = None,
    progress: Progress | None = None,
) -> Measurement:
    """Do what :func:`singular_spectrum` does, and keep what the largest value's vector needs."""
    counts = check_count("num_probes", num_probes), check_count("num_matvecs", num_matvecs)
    generator = generator_or_fresh(generator)
    chosen, J = check_method(J, method), widened(J)
    if chosen == "dense":
        with reporting(progress):
            matrix = J.compact() if isinstance(J, Ranked) else J.to_dense()
        dense = spectrum_of(matrix, min(J.shape), precision_of(J))
        return Measurement(dense, lambda: top_left_vector(J, matrix, generator))
    side = shorter_side(J, generator)
    if side.size == 0:
        zeros = Spectrum(np.zeros(min(J.shape)), provenance=f"lanczos, {name_of(precision_of(J))}")
        return Measurement(zeros, lambda: torch.zeros(J.shape[0], dtype=J.dtype, device=J.device))
    A, rank = side.operator, min(J.rank_bound, side.size) if isinstance(J, Ranked) else side.size
    probes, schedule = budget(A, side.size, *counts, reorthogonalise, max_basis_bytes)
    run = None
    if len(schedule) > 1 and reorthogonalise and rank == side.size:
        run = _measured_apart(side, probes, schedule, generator, progress)
    if run is None:
        start = lanczos.random_probes(A, probes, side.seen, generator)
        recursion = lanczos.GolubKahan(A, start, schedule[-1], reorthogonalise=reorthogonalise)
        found = _resolve(recursion, schedule, side.size, rank, progress)
        run = _Run(found, recursion, A, recursion.steps)
    return Measurement(_spectrum(run, J), lambda: _top_direction(run, A is not J))


@dataclasses.dataclass(frozen=True)
class _Run:
    """A law, and the recursion that saw its largest value, of an operator.

    ``steps`` are the products that most of the values took.
    """

    found: Quadrature
    recursion: lanczos.GolubKahan
    operator: Operator
    steps: int


def _measured_apart(
    side: Side,
    probes: int,
    schedule: Sequence[int],
    generator: torch.Generator,
    progress: Progress | None,
) -> _Run | None:
    """Measure a few inputs that are stretched far more by themselves, where there are such.

    Returns:
        None where no few inputs stand out, or where they hide too much.

    Raises:
        ValueError: If a product is not finite.
    """
    heavy = heavy_inputs(side, generator)
    if heavy is None:
        return None
    few = int(heavy.sum())
    ours = _run(side, heavy, 1, [_FIRST_FEW, *schedule], generator, progress, few / side.size)
    if ours.found.unresolved[1] > 0:
        return None
    others = side.seen & ~heavy
    theirs = _run(side, others, probes, [_FIRST_MANY, *schedule], generator, progress)
    largest = ours if ours.found.values[-1] > theirs.found.values[-1] else theirs
    return dataclasses.replace(
        largest, found=joined(theirs.found, ours.found), steps=theirs.recursion.steps
    )


def _run(
    side: Side,
    kept: torch.Tensor,
    probes: int,
    steps: Sequence[int],
    generator: torch.Generator,
    progress: Progress | None,
    share: float = 1.0,
) -> _Run:
    """Measure some of the inputs."""
    A = Restricted(side.operator, kept)
    size = A.shape[1]
    schedule = sorted({min(most, size, steps[-1]) for most in steps})
    everything = torch.ones(size, dtype=torch.bool, device=A.device)
    start = lanczos.random_probes(A, probes, everything, generator)
    recursion = lanczos.GolubKahan(A, start, schedule[-1])
    found = _resolve(recursion, schedule, size, size, progress, share)
    return _Run(found, recursion, A, recursion.steps)


def _top_direction(run: _Run, transposed: bool) -> torch.Tensor:
    """Return the largest left singular vector of J, of which A may be the transpose, from V."""
    v = lanczos.top_vector(run.recursion.advance(run.recursion.steps))
    if not transposed:
        return torch.nn.functional.normalize(run.operator @ v, dim=0)
    return run.operator.lifted(v) if isinstance(run.operator, Restricted) else v


def _resolve(
    recursion: lanczos.GolubKahan,
    schedule: Sequence[int],
    size: int,
    rank: int,
    progress: Progress | None,
    share: float = 1.0,
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
        quadrature = combine(bidiagonal, lanczos.ritz_values(bidiagonal), size, share)
        quadrature = with_rank(quadrature, rank)
        low, high = quadrature.unresolved
        fine = share * quadrature.coarseness <= COARSE
        if (fine and high <= low) or high - low > 0.93 * unresolved:
            break
        unresolved = high - low if high > low else 1.0
    assert quadrature is not None
    return quadrature


def _spectrum(run: _Run, J: Operator) -> Spectrum:
    """Add the zeros that are known beforehand, and warn of what is not resolved."""
    found = run.found
    known = min(J.shape) - found.size
    share = known / min(J.shape)
    error = found.standard_error
    low, high = (share + (1 - share) * level for level in found.unresolved)
    steps = f"{found.probes} probes, {run.steps} products each way"
    apart = f", {found.heavy} inputs of far more stretch by themselves" if found.heavy else ""
    spectrum = Spectrum(
        np.concatenate([np.zeros(min(known, 1)), found.values]),
        np.concatenate([np.full(min(known, 1), share), (1 - share) * found.weights]),
        standard_error=None
        if error is None
        else (1 - share) * np.concatenate([np.zeros(min(known, 1)), error]),
        provenance=f"lanczos, {name_of(precision_of(J))}, {steps}, {found.separated} values apart"
        + apart,
        dimension=min(J.shape),
        unresolved=(low, high) if high > low else (0.0, 0.0),
    )
    if spectrum.unresolved[1] > 0:
        warnings.warn(_unresolved_message(spectrum, run.steps), AccuracyWarning, stacklevel=4)
    elif found.coarseness > COARSE:
        message = _coarse_message(found.coarseness, run.steps)
        warnings.warn(message, AccuracyWarning, stacklevel=4)
    return spectrum


def _unresolved_message(spectrum: Spectrum, steps: int) -> str:
    """Say which values are not told apart, and what would."""
    low, high = spectrum.unresolved
    reach = math.sqrt(float(spectrum.values[spectrum.above_unresolved()][0]))
    dense = "`method='dense'`, or " if spectrum.dimension <= 2 * DENSE_LIMIT else ""
    return (
        f"{high - low:.0%} of the singular values, those below about {reach:.2g}, are not told "
        f"apart by {steps} products, so whether they are small or 0 is unresolved. Pass "
        f"{dense}`num_matvecs={2 * steps}` to see down to half that value."
    )


def _coarse_message(coarseness: float, steps: int) -> str:
    """Say how coarse the nodes are, and how many products would refine them."""
    wanted = round(steps * coarseness / 0.06, -1)
    return (
        f"{coarseness:.0%} of the singular values are not told apart by {steps} products, so the "
        f"cdf may be off by {coarseness / 2:.2f}. Pass `num_matvecs={wanted:.0f}` or "
        "`method='dense'`."
    )


def finite(bidiagonal: lanczos.Bidiagonalisation) -> lanczos.Bidiagonalisation:
    """Pass on what is finite.

    Raises:
        ValueError: If a product was not.
    """
    if not (np.isfinite(bidiagonal.alpha).all() and np.isfinite(bidiagonal.beta).all()):
        raise ValueError(NOT_FINITE)
    return bidiagonal
