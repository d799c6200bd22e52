"""Composite Gauss-Legendre quadrature against a Gaussian, in z = h / sqrt(q)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Stack = Callable[[np.ndarray], np.ndarray]

# 20 nodes integrate degree 39: phi^2 on a panel where phi is a polynomial of degree 19.
_X, _W = np.polynomial.legendre.leggauss(20)
X, W = (_X + 1) / 2, _W / (2 * math.sqrt(2 * math.pi))
NODES = X.size
# exp(-14^2/2) is 3e-43: only what grows or is tiny elsewhere needs more. At 38 exp(-z^2/2) leaves
# float64. Panels of 2, later 1, resolve the Gaussian itself to rounding with 20 nodes.
NEAR = np.arange(-14.0, 15.0, 2.0)
_STEPS = np.arange(14.0, 39.0)
FAR = np.concatenate((-_STEPS[::-1], NEAR[1:-1], _STEPS))
_MOST = 20_000  # panels at once: 13 MB for four functions
_TINY = np.finfo(float).tiny


class Average(NamedTuple):
    """Averages of several functions, their estimated errors, and sums of absolute panels."""

    value: np.ndarray
    error: np.ndarray
    size: np.ndarray


def edges(points: np.ndarray, grid: np.ndarray, *, half: bool = False) -> np.ndarray:
    """Return the sorted panel edges in z: the grid's and those points that lie within it."""
    low, high = (0.0 if half else grid[0]), grid[-1]
    inside = points[(points > low) & (points < high)]
    merged = np.concatenate((grid[grid >= low], inside))
    merged.sort()
    return merged


def rule(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes in z and Gaussian weights on the panels between ``ends``."""
    width = (ends[1:] - ends[:-1])[:, None]
    z = (ends[:-1, None] + width * X).ravel()
    return z, (width * W).ravel() * np.exp(-0.5 * z * z)


def adapt(f: Stack, sigma: float, points: np.ndarray, *, half: bool = False) -> Average:
    """Average the rows of ``f(h)``, bisecting panels until two resolutions agree.

    The tails beyond 14 standard deviations are added where the last panels are not negligible.
    """
    first = _refine(f, sigma, edges(points / sigma, NEAR, half=half))
    tails = [_panel(f, sigma, np.array([12.0]), np.array([14.0]))[:, 0]]
    if not half:
        tails.append(_panel(f, sigma, np.array([-14.0]), np.array([-12.0]))[:, 0])
    # Outermost panels at rounding mean that the next ones are far below it.
    small = np.abs(tails).sum(axis=0) <= 1e-15 * first.size
    if (small & (first.size > 0)).all():
        return first
    return _refine(f, sigma, edges(points / sigma, FAR, half=half))


def _panel(f: Stack, sigma: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the integral of every row of ``f`` over every panel."""
    width = (b - a)[:, None]
    z = a[:, None] + width * X
    weights = width * W * np.exp(-0.5 * z * z)
    values = f(sigma * z.ravel()).reshape(-1, *z.shape)
    return np.einsum("kpn,pn->kp", values, weights)


def _refine(f: Stack, sigma: float, ends: np.ndarray) -> Average:
    a, b = ends[:-1], ends[1:]
    whole = _panel(f, sigma, a, b)
    size = np.abs(whole).sum(axis=1)
    value, error = np.zeros_like(size), np.zeros_like(size)
    left_over: list[float] = []
    while True:
        middle = (a + b) / 2
        left, right = _panel(f, sigma, a, middle), _panel(f, sigma, middle, b)
        gap = np.abs(left + right - whole)
        size = np.maximum(size, np.abs(left).sum(axis=1) + np.abs(right).sum(axis=1))
        # Rounding of a sum of hundreds of terms; a panel as narrow as h's last digit is not halved.
        bad = (gap > 1e-13 * size[:, None]).any(axis=0) & (b - a > 1e-15 * np.abs(middle))
        left_over.append(float((gap[:, bad].sum(axis=1) / (size + _TINY)).max()))
        # A jump halves the gap each time, a kink quarters it: four halvings that gain less than a
        # factor of two have met noise.
        stuck = len(left_over) > 4 and left_over[-1] > 0.5 * left_over[-5]
        if stuck or 2 * bad.sum() > _MOST:
            bad[:] = False
        value += (left + right)[:, ~bad].sum(axis=1)
        error += gap[:, ~bad].sum(axis=1)
        if not bad.any():
            return Average(value, error, size)
        whole = np.concatenate((left[:, bad], right[:, bad]), axis=1)
        a, b = np.concatenate((a[bad], middle[bad])), np.concatenate((middle[bad], b[bad]))
