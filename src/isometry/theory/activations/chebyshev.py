"""Piecewise Chebyshev approximation of an unknown function: where it is smooth, and its derivative.

The line is scanned in cells of width 1/8 for |h| <= 40, wider further out; a cell is split until a
polynomial of degree 19 fits at 31 points between its nodes, cells that shrink to nothing are kinks
or jumps, and what is left is merged into as few panels as fit. Features narrower than about 0.003
between those points, or beyond |h| = 40, can go unseen: they must be given as breakpoints.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from isometry._typing import Function

CORE = 40.0  # saturation and tails are over: exp(-40) is below rounding
_DEGREE = 19  # as many nodes as the quadrature has: a panel that fits is integrated exactly
_NODES = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
_FIT = np.linalg.inv(chebyshev.chebvander(_NODES, _DEGREE)).T
# Between the nodes, denser towards the ends as these are; the shift keeps the middle of a cell,
# where an odd or even function says least, from being one.
_CHECKS = np.sin(np.linspace(-1.55, 1.55, 31) + 0.003)
_PREDICT = _FIT @ chebyshev.chebvander(_CHECKS, _DEGREE).T
_SAMPLES = np.concatenate((_NODES, _CHECKS))
_DERIVE = np.stack([np.pad(chebyshev.chebder(row), (0, 1)) for row in np.eye(_DEGREE + 1)])
_ENDS = chebyshev.chebvander(np.array([-1.0, 1.0]), _DEGREE).T
_FAR = CORE * 2.0 ** (np.arange(26) / 2)  # to 2e5; further out nothing is known
# Relative tolerance, and the part of max |f| on [-1, 1] that a cell's own maximum is raised to:
# first every cell to rounding, however small the function is there; then to rounding of the whole;
# then three steps for functions with noise, which cancel, interpolate or compute in float32.
_ACCURACIES = ((1e-13, 1e-60), (1e-13, 1.0), (1e-10, 1.0), (1e-7, 1.0), (1e-5, 1.0))
_BUDGET = 4000  # cells: a kink takes some 50 to be found, noise would take any number


class Panels(NamedTuple):
    """Cells ``edges[i:i + 2]`` with Chebyshev coefficients, plus what was found between them."""

    edges: np.ndarray
    coefficients: np.ndarray
    residuals: np.ndarray
    kinks: tuple[float, ...]
    jumps: tuple[float, ...]

    def slope(self, h: np.ndarray) -> np.ndarray:
        """Return the derivative of the piecewise polynomial."""
        cell, x, half = self._locate(h)
        table = self.coefficients @ _DERIVE
        values = chebyshev.chebval(x, np.moveaxis(table[cell], -1, 0), tensor=False)
        return values / half

    def slope_error(self, h: np.ndarray) -> np.ndarray:
        """Return the estimated error of :meth:`slope`, infinite outside the panels."""
        cell, _, half = self._locate(h)
        outside = (h < self.edges[0]) | (h > self.edges[-1])
        # The order of the slope of an error that changes its sign from node to node.
        return np.where(outside, np.inf, 10 * self.residuals[cell] / half)

    def _locate(self, h: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cell = np.searchsorted(self.edges, h, side="right") - 1
        cell = np.clip(cell, 0, self.edges.size - 2)
        half = np.diff(self.edges)[cell] / 2
        return cell, np.clip((h - self.edges[cell]) / half - 1, -1.0, 1.0), half


def resolve(functions: Sequence[Function], seeds: Sequence[float]) -> Panels:
    """Return panels on which every function is smooth; the first one is tabulated."""
    scales = [_scale(f) for f in functions]
    points = np.asarray(seeds, dtype=float)
    grid = np.linspace(-CORE, CORE, 641)  # 51 samples in a cell of 1/8: 0.003 apart
    edges, accuracy = _part(functions, scales, grid, points, _ACCURACIES)
    for outer in (-_FAR[::-1], _FAR):
        more, _ = _part(functions, scales, outer, points, (accuracy,))
        edges = np.union1d(edges, more)
    values, residuals = _sample(functions[0], edges[:-1], edges[1:])
    coefficients = values[:, : _DEGREE + 1] @ _FIT
    kinks, jumps = _classify(edges, coefficients, residuals, scales[0])
    return Panels(edges, coefficients, residuals, kinks, jumps)


def _part(
    functions: Sequence[Function],
    scales: list[float],
    grid: np.ndarray,
    seeds: np.ndarray,
    accuracies: Sequence[tuple[float, float]],
) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the edges within a grid and the accuracy that the noise of the functions allows."""
    seeds = seeds[(seeds > grid[0]) & (seeds < grid[-1])]
    grid = np.union1d(grid, seeds)
    edges = grid
    for rtol, floor in accuracies:
        least = [floor * scale for scale in scales]
        edges, enough = _split(functions, least, grid, rtol)
        if enough:
            fixed = np.union1d(seeds, _kinks(edges))
            # Again with the kinks as edges, and with slack: what passed just so is not split anew.
            edges, _ = _split(functions, least, np.union1d(grid, fixed), 10 * rtol)
            return _merge(functions, least, edges, fixed, 10 * rtol), (rtol, floor)
    return edges, accuracies[-1]


def _scale(f: Function) -> float:
    return float(np.abs(f(np.linspace(-1.0, 1.0, 101))).max())


def _sample(f: Function, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return samples of every cell and how far its polynomial misses them.

    The miss is infinite where some samples are not finite, zero where none is: no use splitting.
    """
    h = ((a + b) / 2)[:, None] + ((b - a) / 2)[:, None] * _SAMPLES
    values = f(h.ravel()).reshape(h.shape)
    finite = np.all(np.isfinite(values), axis=1)
    hopeless = ~np.any(np.isfinite(values), axis=1)
    values = np.where(finite[:, None], values, 0.0)
    miss = np.abs(values[:, : _DEGREE + 1] @ _PREDICT - values[:, _DEGREE + 1 :]).max(axis=1)
    return values, np.where(np.logical_or(finite, hopeless), miss, np.inf)


def _fits(
    functions: Sequence[Function], scales: list[float], a: np.ndarray, b: np.ndarray, rtol: float
) -> np.ndarray:
    good = np.ones(a.size, dtype=bool)
    for f, scale in zip(functions, scales, strict=True):
        values, residuals = _sample(f, a, b)
        good &= residuals <= rtol * np.maximum(np.abs(values).max(axis=1), scale)
    return good


def _split(
    functions: Sequence[Function], scales: list[float], edges: np.ndarray, rtol: float
) -> tuple[np.ndarray, bool]:
    """Bisect the cells that do not fit; say whether the budget lasted."""
    parts = [edges]
    a, b = edges[:-1], edges[1:]
    for _ in range(70):  # halvings from 1/8 to the last digit of h, and on towards h = 0
        wide = b - a > 1e-15 * np.maximum(np.abs(a), np.abs(b)) + 1e-18
        bad = wide & ~_fits(functions, scales, a, b, rtol)
        if not bad.any():
            break
        middle = (a[bad] + b[bad]) / 2
        parts.append(middle)
        if sum(part.size for part in parts) > _BUDGET:
            return np.unique(np.concatenate(parts)), False
        a, b = np.concatenate((a[bad], middle)), np.concatenate((middle, b[bad]))
    return np.unique(np.concatenate(parts)), True


def _kinks(edges: np.ndarray) -> np.ndarray:
    """Return the points on which cells have shrunk, rounded where that changes nothing."""
    # Bisection stops at 1e-15 of h: a cell below 1e-9 has shrunk on something that is no polynomial
    # at any scale. Its neighbours within ten times that have shrunk on the same point.
    width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    unit = np.maximum(1.0, np.abs(middle))
    tiny = np.flatnonzero(width < 1e-9 * unit)
    groups = np.split(tiny, np.flatnonzero(np.diff(middle[tiny]) > 1e-8 * unit[tiny][1:]) + 1)
    points: list[float] = []
    for group in groups:
        if group.size:
            best = group[np.argmin(width[group])]
            point, slack = float(middle[best]), 2 * width[best] + 1e-15 * unit[best]
            # People write kinks as 0.5 or 1.25: such a number within the cell is meant.
            rounded = (round(point, digits) for digits in (3, 6, 9))
            points.append(next((near for near in rounded if abs(near - point) <= slack), point))
    return np.array(points)


def _merge(
    functions: Sequence[Function],
    scales: list[float],
    edges: np.ndarray,
    fixed: np.ndarray,
    rtol: float,
) -> np.ndarray:
    """Drop every second edge across which one polynomial fits, until none can go."""
    idle = 0
    start = 1
    while idle < 2:  # both halves of the inner edges have had their turn in vain
        start = 3 - start
        inner = np.arange(start, edges.size - 1, 2)
        inner = inner[~np.isin(edges[inner], fixed)]
        a, b = edges[inner - 1], edges[inner + 1]
        ratio = (b - edges[inner]) / (edges[inner] - a)
        # No panel wider than its distance from 0, as q may be tiny; nor one of parts that differ by
        # more than two halvings, as its checks would miss the smaller part.
        near = b - a <= np.maximum(0.5, np.minimum(np.abs(a), np.abs(b)))
        alike = near & (ratio < 4.1) & (ratio > 1 / 4.1)
        drop = inner[alike & _fits(functions, scales, a, b, rtol)]
        edges = np.delete(edges, drop)
        idle = 0 if drop.size else idle + 1
    return edges


def _classify(
    edges: np.ndarray, coefficients: np.ndarray, residuals: np.ndarray, scale: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the edges at which the slope or the value differs between the two sides."""
    half = np.diff(edges) / 2
    value = coefficients @ _ENDS
    slope = coefficients @ _DERIVE @ _ENDS / half[:, None]
    known = np.isfinite(residuals[1:]) & np.isfinite(residuals[:-1])
    gap = np.abs(value[1:, 0] - value[:-1, 1])
    size = np.maximum(np.maximum(np.abs(value[1:, 0]), np.abs(value[:-1, 1])), scale)
    bend = np.abs(slope[1:, 0] - slope[:-1, 1])
    steep = np.maximum(np.maximum(np.abs(slope[1:, 0]), np.abs(slope[:-1, 1])), scale)
    # A jump is a gap beyond float32's rounding and ten times what the polynomials miss; a slope may
    # lose a factor of 19^2 (Markov), hence a thousand.
    noise = (residuals + 1e-15 * scale) / half
    jump = known & (gap > 1e-7 * size + 10 * (residuals[1:] + residuals[:-1]))
    kink = known & (bend > 1e-6 * steep + 1e3 * (noise[1:] + noise[:-1]))
    inner = edges[1:-1]
    return tuple(inner[jump | kink].tolist()), tuple(inner[jump].tolist())
