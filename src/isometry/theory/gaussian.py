r"""Averages over a centred Gaussian pre-activation: :math:`E f(\sqrt{q}\,z)`, z ~ N(0, 1).

Closed forms where an activation has them; otherwise Gauss-Legendre panels that are split at the
breakpoints and graded from the feature scale of the activation to the width of the Gaussian.
Activations that are not in the catalogue are integrated at two resolutions until these agree.
"""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast, overload

import numpy as np

from isometry._checks import check_array, check_real, shown
from isometry._result import Result
from isometry._typing import Checked, Float, FloatArray, Function, Numbers, Real, Reals
from isometry.errors import AccuracyWarning
from isometry.theory import quadrature
from isometry.theory.activations.definition import Activation
from isometry.theory.activations.lookup import ActivationLike, activation

__all__ = ["GaussianMoments", "gaussian_mean", "gaussian_moments", "gaussian_nodes"]

_TINY = np.finfo(float).tiny
_ADVICE = "q is a variance, not a standard deviation."
_PROMISE = 1e-6
_NAMES = ("E phi", "E phi^2", "E phi'", "E phi'^2")
_LADDER = np.array(activation("linear").panels)


T = TypeVar("T")


@dataclass(frozen=True)
class GaussianMoments(Result, Generic[T]):
    """Hold the averages of an activation and its derivative over h ~ N(0, q).

    Args:
        mean: E phi(h).
        square: E phi(h)^2.
        slope: E phi'(h).
        slope_square: E phi'(h)^2; times sigma_w^2 it is chi.
    """

    mean: T
    square: T
    slope: T
    slope_square: T


@overload
def gaussian_moments(  # pyright: ignore[reportOverlappingOverload]
    act: ActivationLike, q: Real
) -> GaussianMoments[float]: ...
@overload
def gaussian_moments(act: ActivationLike, q: Reals) -> GaussianMoments[FloatArray]: ...
def gaussian_moments(act: ActivationLike, q: Reals) -> GaussianMoments[Any]:
    r"""Average phi, phi^2, phi' and phi'^2 over a Gaussian pre-activation.

    Args:
        act: Activation, or anything :func:`~isometry.activation` accepts.
        q: Variance of the pre-activation, finite and >= 0; a number or an array. At ``q = 0``
            the derivative is the limit of a vanishing variance: both sides of h = 0 count half.

    Returns:
        Floats for a number, arrays of the shape of ``q`` for an array.

    Raises:
        TypeError: If ``q`` is not numeric, or ``act`` is nothing an activation is made from.
        ValueError: If ``q`` is negative, infinite or NaN, if ``act`` is unknown, or if it returns
            a value that is not finite where the Gaussian has weight.
        NotImplementedError: If ``act`` is not elementwise.

    Notes:
        Relative error, measured against 30 digits for q from 1e-8 to 1e8: below 1e-10 for every
        named activation. For others 1e-6, or an ``AccuracyWarning`` states the estimate.

    Examples:
        >>> gaussian_moments("relu", 2.0).slope_square
        0.5
    """
    act = activation(act)
    if isinstance(q, float):
        return GaussianMoments(*_moments(act, check_real("q", q, minimum=0.0, advice=_ADVICE)))
    variances = _variances(q)
    if variances.ndim == 0:
        return GaussianMoments(*_moments(act, float(variances)))
    return GaussianMoments(*_batch(act, variances))


def gaussian_mean(
    f: Checked[Function], q: Reals, *, breakpoints: Checked[Iterable[float]] = ()
) -> Numbers:
    """Average ``f`` over a centred Gaussian of variance ``q``.

    Args:
        f: Elementwise function; called on one-dimensional arrays of pre-activations.
        q: Variance, finite and >= 0; a number or an array.
        breakpoints: Kinks and jumps of ``f``; unlisted ones are found by bisection.

    Returns:
        A float for a number, an array of the shape of ``q`` for an array.

    Raises:
        TypeError: If ``q`` or ``breakpoints`` is not numeric, ``f`` no function of real numbers.
        ValueError: If ``q`` is negative, infinite or NaN, a breakpoint is not finite, or ``f``
            changes the shape or returns a value that is not finite.

    Notes:
        Warns with ``AccuracyWarning`` where two resolutions differ by more than 2.5e-7. A feature
        much narrower than the panels (1/20 of sqrt(q), or of h) is only seen as a breakpoint.

    Examples:
        >>> round(gaussian_mean(np.square, 4.0), 12)
        4.0
    """
    variances = _variances(q)
    if not callable(f):
        raise TypeError(
            f"`f` is {shown(f)}; expected a function of arrays. "
            "Averages of a named activation are those of `gaussian_moments`."
        )
    points = _with_ladder(breakpoints)
    rows = _finite_rows(lambda h: (f(h),), "f")
    means = np.empty(variances.shape)
    for where, value in np.ndenumerate(variances):
        if value == 0:
            means[where] = rows(np.zeros(1))[0, 0]
            continue
        average = quadrature.adapt(rows, math.sqrt(value), points)
        _warn("f", value, ("E f",), average, average.error)
        means[where] = average.value[0]
    return float(means) if means.ndim == 0 else means


def gaussian_nodes(
    q: Real, breakpoints: Checked[Iterable[float] | Activation] = ()
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return nodes and weights for averages over h ~ N(0, q).

    Args:
        q: Variance, finite and >= 0.
        breakpoints: Kinks and jumps of the function to be averaged, or the activation whose own
            they are.

    Returns:
        Nodes ``h`` in ascending order and probability weights that sum to 1. At ``q = 0`` two
        nodes stand for the two sides of h = 0.

    Raises:
        TypeError: If ``q`` is not a number or ``breakpoints`` are not.
        ValueError: If ``q`` is negative, infinite or NaN, or a breakpoint is not finite.

    Examples:
        >>> h, weights = gaussian_nodes(1.0, (0.0,))
        >>> round(float(weights @ (h > 0)), 12)
        0.5
    """
    q = check_real("q", q, minimum=0.0, advice=_ADVICE)
    if q == 0:
        return np.array([-_TINY, _TINY]), np.array([0.5, 0.5])
    if isinstance(breakpoints, Activation):
        points = panel_points(breakpoints)
    else:
        points = _with_ladder(breakpoints)
    sigma = math.sqrt(q)
    z, weights = quadrature.rule(quadrature.edges(points / sigma, quadrature.NEAR))
    return sigma * z, weights / weights.sum()


def _with_ladder(breakpoints: object) -> np.ndarray:
    """Return the points between which an unknown function is integrated panel by panel.

    Raises:
        TypeError: If ``breakpoints`` are no numbers.
        ValueError: If one of them is not finite.
    """
    listed = isinstance(breakpoints, Iterable)
    given = list(cast(Iterable[object], breakpoints)) if listed else breakpoints
    points = check_array("breakpoints", given) if given != [] else np.empty(0)
    if points.ndim != 1 or np.isinf(points).any():
        raise ValueError(
            f"`breakpoints` is {shown(breakpoints)}; expected a list of finite numbers."
        )
    return np.union1d(points, _LADDER)


def _variances(q: Any) -> np.ndarray:
    variances = check_array("q", q, minimum=0.0)
    if np.isinf(variances).any():
        raise ValueError(f"`q` contains inf; expected finite numbers >= 0. {_ADVICE}")
    return variances


def _batch(act: Activation, q: np.ndarray) -> np.ndarray:
    """Return the four averages for an array of variances, each distinct one computed once."""
    values, where = np.unique(q, return_inverse=True)
    table = np.empty((4, values.size))
    for j, value in enumerate(values):
        table[:, j] = _moments(act, float(value))
    return table[:, where].reshape((4, *q.shape))


def _moments(act: Activation, q: float) -> tuple[float, ...]:
    """Return the four averages for one variance.

    Raises:
        ValueError: If one of them leaves float64's range.
    """
    with np.errstate(all="ignore"):  # what overflows is refused below
        averages = _averages(act, q)
    if not all(map(math.isfinite, averages)):
        raise ValueError(
            f"`{act.name}` has {_NAMES[int(np.argmin(np.isfinite(averages)))]} beyond float64's "
            f"range at q = {q:g}; expected finite averages. Use a smaller q or parameter."
        )
    return averages


def _averages(act: Activation, q: float) -> tuple[float, ...]:
    if q == 0:
        return _at_zero(act)
    if act.closed is not None:
        return tuple(float(value) for value in act.closed(q))
    if act.source is not None or act.recipe is None:
        return _verified(act, q)
    sums, tail = _integrate(act, q, quadrature.NEAR)
    return _integrate(act, q, quadrature.FAR)[0] if tail else sums


def _at_zero(act: Activation) -> tuple[float, ...]:
    value = float(act.phi(np.zeros(1))[0])
    left, right = act.dphi(np.array([-_TINY, _TINY])).tolist()
    return value, value * value, (left + right) / 2, (left * left + right * right) / 2


def _integrate(act: Activation, q: float, grid: np.ndarray) -> tuple[tuple[float, ...], bool]:
    """Return the four averages on the given z panels, and whether the tails still matter."""
    sigma = math.sqrt(q)
    z, weights = quadrature.rule(quadrature.edges(panel_points(act) / sigma, grid, half=act.odd))
    h = sigma * z
    phi, dphi = act.phi(h), act.dphi(h)
    weighted, slope = weights * phi, weights * dphi
    square, slope_square = float(weighted @ phi), float(slope @ dphi)
    n = quadrature.NODES
    tail = float(weighted[-n:] @ phi[-n:] + slope[-n:] @ dphi[-n:])
    if act.odd:
        sums = (0.0, 2 * square, 2 * float(slope.sum()), 2 * slope_square)
    else:
        tail += float(weighted[:n] @ phi[:n] + slope[:n] @ dphi[:n])
        sums = (float(weighted.sum()), square, float(slope.sum()), slope_square)
    return sums, tail >= 1e-17 * min(square, slope_square)


@lru_cache(maxsize=64)
def panel_points(act: Activation) -> np.ndarray:
    """Return the panel edges of an activation in h."""
    return np.array(sorted({*act.breakpoints, *(act.panels or _LADDER.tolist())}))


def _verified(act: Activation, q: float) -> tuple[float, ...]:
    """Return the four averages of an activation from outside the catalogue."""

    def moments(h: np.ndarray) -> tuple[np.ndarray, ...]:
        phi, dphi = act.phi(h), act.dphi(h)
        return phi, phi * phi, dphi, dphi * dphi

    sigma, points = math.sqrt(q), panel_points(act)
    rows = _finite_rows(moments, act.name)
    average = quadrature.adapt(rows, sigma, points, half=act.odd)
    error = average.error.copy()
    if act.slope_error is not None:
        z, weights = quadrature.rule(quadrature.edges(points / sigma, quadrature.NEAR))
        inexact = weights * act.slope_error(sigma * z)
        inexact = inexact[weights > 1e-20]
        error[2] += inexact.sum()
        error[3] += 2 * (inexact * np.abs(act.dphi(sigma * z[weights > 1e-20]))).sum()
    if act.odd:
        error[0] = 0.0
    average.size[2:] += math.sqrt(average.size[1] / q), average.size[1] / q
    _warn(act.name, q, _NAMES, average, error)
    mean, square, slope, slope_square = average.value.tolist()
    if act.odd:
        return 0.0, 2 * square, 2 * slope, 2 * slope_square
    return mean, square, slope, slope_square


def _finite_rows(
    f: Callable[[np.ndarray], tuple[np.ndarray, ...]], name: str
) -> Callable[[np.ndarray], np.ndarray]:
    def rows(h: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            values = tuple(np.asarray(row) for row in f(h))
        if any(row.dtype.kind not in "biuf" for row in values):
            raise TypeError(f"`{name}` returns dtype {values[0].dtype}; expected real numbers.")
        if any(row.shape != h.shape for row in values):
            raise ValueError(
                f"`{name}` returns shape {values[0].shape} for an input of shape {h.shape}; "
                "expected an elementwise function."
            )
        stack = np.stack(values).astype(np.float64)
        bad = ~np.isfinite(stack).all(axis=0)
        if bad.any():
            raise ValueError(
                f"`{name}` or its square or derivative is not finite at h = {h[bad][0]:g}, where "
                "the Gaussian still has weight; expected finite numbers, so use a smaller q."
            )
        return stack

    return rows


def _warn(
    name: str,
    q: float,
    labels: tuple[str, ...],
    average: quadrature.Average,
    error: np.ndarray,
) -> None:
    relative = error / np.maximum(np.abs(average.value), 1e-6 * average.size + _TINY)
    worst = int(np.argmax(relative))
    if relative[worst] > _PROMISE / 4:  # an estimate can be too small by a factor of 2
        warnings.warn(
            f"`{name}`: {labels[worst]} at q = {q:.1g} has an estimated relative error of "
            f"{relative[worst]:.1g}, too near to {_PROMISE:g} or above; pass its kinks and narrow "
            "features as `breakpoints`.",
            AccuracyWarning,
            stacklevel=3,
        )
