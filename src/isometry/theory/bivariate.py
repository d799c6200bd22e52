r"""Covariance of f(u) and f(v) for standard Gaussians u, v of correlation rho, kinks and all.

    E f(u) f(v) = E f(u) g(u),   g(u) = E f(rho u + s w),   s = sqrt(1 - rho^2)                 (63)

g is smooth on the scale s around the kinks' images b / rho, so the outer panels are split at the
kinks and graded around their images, and the inner ones are split at the kinks for every u.
"""

import math

import numpy as np

from isometry._typing import Float, Function
from isometry.theory import quadrature

_GRID = np.arange(-10.0, 11.0, 2.0)  # exp(-10^2 / 2) is 2e-22
_FINEST = 1e-9  # of s, below which the caller takes the limit


def correlation_average(
    f: Function, points: Float[np.ndarray, "n"], kinks: Float[np.ndarray, "m"], rho: float
) -> float:
    """Return ``E f(u) f(v)``.

    Args:
        f: Elementwise function of u.
        points: Edges between which f is a polynomial of low degree, kinks included.
        kinks: Where f or its derivative jumps.
        rho: Correlation, strictly between -1 and 1, not within 1e-18 of the ends.

    Returns:
        The average.

    Notes:
        Measured against the closed forms of ReLU, the sign and erf: 1e-13 of E f^2.
    """
    s = math.sqrt((1 - rho) * (1 + rho))
    if rho == 0.0 or s <= _FINEST:
        u, weights = quadrature.rule(quadrature.edges(points, _GRID))
        return float(weights @ f(u)) ** 2 if rho == 0.0 else float(weights @ (f(u) * f(rho * u)))
    u, weights = quadrature.rule(_outer(points, kinks, rho, s))
    return float((weights * f(u)) @ _conditional(f, points, rho, s, u))


def _outer(
    points: Float[np.ndarray, "n"], kinks: Float[np.ndarray, "m"], rho: float, s: float
) -> Float[np.ndarray, "k"]:
    steps = s / abs(rho) * 2.0 ** np.arange(0, max(1, math.ceil(math.log2(4 / s))))
    around = (kinks / rho)[:, None] + np.concatenate((-steps, [0.0], steps))
    merged = np.unique(np.concatenate((points, points / rho, around.ravel())))
    return quadrature.edges(merged, _GRID)


def _conditional(
    f: Function, points: Float[np.ndarray, "n"], rho: float, s: float, u: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "k"]:
    """Return E f(rho u + s w) for every u, on panels of its own."""
    middle = rho * u[:, None]
    inside = points[(points > middle.min() - 10 * s) & (points < middle.max() + 10 * s)]
    split = np.clip((inside - middle) / s, _GRID[0], _GRID[-1])
    ends = np.sort(np.concatenate((split, np.broadcast_to(_GRID, (u.size, _GRID.size))), axis=1))
    width = np.diff(ends)[..., None]
    w = ends[:, :-1, None] + width * quadrature.X
    weights = width * quadrature.W * np.exp(-0.5 * w * w)
    values = f((middle[..., None] + s * w).ravel()).reshape(w.shape)
    return np.einsum("upn,upn->u", weights, values)
