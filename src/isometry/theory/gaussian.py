"""Averages over a centred Gaussian pre-activation: E f(sqrt(q) z), z ~ N(0, 1).

Closed forms where an activation has them; otherwise Gauss-Legendre panels that are split at the
breakpoints and graded from the feature scale of the activation to the width of the Gaussian.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from isometry._checks import check_array, check_real
from isometry._result import Result
from isometry._typing import Float
from isometry.theory._activation import Activation
from isometry.theory.activations import activation

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / (2 * math.sqrt(2 * math.pi))
_NEAR = np.arange(-14.0, 15.0, 2.0)
_FAR = np.arange(14.0, 39.0)
_FAR = np.concatenate((-_FAR[::-1], np.arange(-12.0, 13.0, 2.0), _FAR))
_TINY = np.finfo(float).tiny
_ADVICE = "q is a variance, not a standard deviation."


@dataclass(frozen=True)
class GaussianMoments(Result):
    """Hold the averages of an activation and its derivative over h ~ N(0, q).

    Args:
        mean: E phi(h).
        square: E phi(h)^2.
        slope: E phi'(h).
        slope_square: E phi'(h)^2; times sigma_w^2 it is chi.
    """

    mean: Any
    square: Any
    slope: Any
    slope_square: Any


def gaussian_moments(act: Any, q: Any) -> GaussianMoments:
    """Average phi, phi^2, phi' and phi'^2 over h ~ N(0, q).

    Raises:
        ValueError: If ``q`` is negative, infinite or NaN.
    """
    act = activation(act)
    if isinstance(q, float):
        return GaussianMoments(*_moments(act, check_real("q", q, minimum=0.0, advice=_ADVICE)))
    variances = check_array("q", q, minimum=0.0)
    if np.isinf(variances).any():
        raise ValueError(f"`q` contains inf; expected finite variances >= 0. {_ADVICE}")
    if variances.ndim == 0:
        return GaussianMoments(*_moments(act, float(variances)))
    return GaussianMoments(*_batch(act, variances))


def _batch(act: Activation, q: np.ndarray) -> np.ndarray:
    """Return the four averages for an array of variances, each distinct one computed once."""
    values, where = np.unique(q, return_inverse=True)
    table = np.empty((4, values.size))
    for j, value in enumerate(values):
        table[:, j] = _moments(act, float(value))
    return table[:, where].reshape((4, *q.shape))


def _moments(act: Activation, q: float) -> tuple[float, float, float, float]:
    """Return the four averages for one variance."""
    if q == 0:
        return _at_zero(act)
    if act.closed is not None:
        mean, square, slope, slope_square = act.closed(q)
        return float(mean), float(square), float(slope), float(slope_square)
    sums, tail = _integrate(act, q, _NEAR)
    if tail:
        sums, _ = _integrate(act, q, _FAR)
    return sums


def _at_zero(act: Activation) -> tuple[float, float, float, float]:
    """Return the limit of a vanishing variance: both sides of h = 0 count half."""
    value = float(act.phi(np.zeros(1))[0])
    left, right = act.dphi(np.array([-_TINY, _TINY]))
    return value, value * value, float(left + right) / 2, float(left**2 + right**2) / 2


def _integrate(
    act: Activation, q: float, grid: np.ndarray
) -> tuple[tuple[float, float, float, float], bool]:
    """Return the four averages on the given z panels, and whether the tails still matter."""
    sigma = math.sqrt(q)
    z, weights = _rule(_edges(_points(act) / sigma, grid, half=act.odd))
    h = sigma * z
    phi, dphi = act.phi(h), act.dphi(h)
    weighted = weights * phi
    square = float(weighted @ phi)
    slope = weights * dphi
    n = _NODES.size
    tail = float(weighted[:n] @ phi[:n] * (not act.odd) + weighted[-n:] @ phi[-n:])
    tail += float(slope[:n] @ dphi[:n] * (not act.odd) + slope[-n:] @ dphi[-n:])
    slope_square = float(slope @ dphi)
    factor = 2.0 if act.odd else 1.0
    mean = 0.0 if act.odd else float(weighted.sum())
    important = square == 0 or tail > 1e-17 * min(square, slope_square)
    sums = (mean, factor * square, factor * float(slope.sum()), factor * slope_square)
    return sums, important


@lru_cache(maxsize=64)
def _points(act: Activation) -> np.ndarray:
    """Return the panel edges of an activation in h."""
    return np.array(act.breakpoints + act.panels)


def _edges(points: np.ndarray, grid: np.ndarray, *, half: bool = False) -> np.ndarray:
    """Return the sorted panel edges in z: the grid's and those points that lie within it."""
    low, high = (0.0 if half else grid[0]), grid[-1]
    inside = points[(points > low) & (points < high)]
    return np.unique(np.concatenate((grid[grid >= low], inside)))


def _rule(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes in z and Gaussian weights of the composite Gauss-Legendre rule."""
    width = np.diff(edges)[:, None]
    z = (edges[:-1, None] + width * _NODES).ravel()
    return z, (width * _WEIGHTS).ravel() * np.exp(-z * z / 2)


def gaussian_nodes(
    q: float, breakpoints: Iterable[float] = ()
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return nodes in h and probability weights for averages over h ~ N(0, q)."""
    q = check_real("q", q, minimum=0.0, advice=_ADVICE)
    points = np.asarray(tuple(breakpoints), dtype=float)
    if q == 0:
        return np.array([-_TINY, _TINY]), np.array([0.5, 0.5])
    sigma = math.sqrt(q)
    z, weights = _rule(_edges(np.concatenate((points, _LADDER)) / sigma, _NEAR))
    return sigma * z, weights / weights.sum()


_LADDER = np.array(activation("linear").panels)


def gaussian_mean(
    f: Callable[[np.ndarray], np.ndarray], q: Any, *, breakpoints: Iterable[float] = ()
) -> Any:
    """Average ``f`` over a centred Gaussian of variance ``q``."""
    variances = check_array("q", q, minimum=0.0)
    points = tuple(breakpoints)
    means = [
        weights @ f(h) for h, weights in (gaussian_nodes(float(v), points) for v in variances.flat)
    ]
    return float(means[0]) if variances.ndim == 0 else np.reshape(means, variances.shape)
