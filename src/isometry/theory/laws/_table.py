"""Tables of a density whose logarithmic support has two edges: piecewise polynomials in chunks.

A side of the support, from an edge to the split point, is mapped to ``v`` in [0, 1] so that the
density of log lam is ``v`` times a smooth function. All a law answers is read from three tables:
``density / v``, ``tail mass / v**power`` and the inverse of the latter.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from isometry._typing import Float, FloatArray

Vector = Float[np.ndarray, "n"]
Kernel = Callable[[Vector], Vector]

CHUNK = 8192
"""Points per chunk: the work arrays of one chunk stay in the second-level cache."""

DEGREE = 4
_NODES = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
_FIT = np.linalg.inv(np.vander(_NODES, DEGREE + 1, increasing=True))
_ORDER = np.arange(DEGREE + 1)


def in_chunks(kernel: Kernel, values: FloatArray) -> FloatArray:
    """Apply ``kernel``, a map from vectors to vectors, to an array of any shape in chunks."""
    flat = values.reshape(-1)
    if flat.size <= CHUNK:
        return kernel(flat).reshape(values.shape)
    out = np.empty_like(flat)
    for start in range(0, flat.size, CHUNK):
        out[start : start + CHUNK] = kernel(flat[start : start + CHUNK])
    return out.reshape(values.shape)


def fit_nodes(pieces: int) -> Vector:
    """Return the points of [0, 1] at which :func:`fit` wants the function."""
    return ((np.arange(pieces)[:, None] + (1 + _NODES) / 2) / pieces).reshape(-1)


def fit(values: Vector) -> Float[np.ndarray, "degree pieces"]:
    """Return the local polynomials through ``values``, given at :func:`fit_nodes`."""
    return np.ascontiguousarray(_FIT @ values.reshape(-1, DEGREE + 1).T)


def evaluate(table: Float[np.ndarray, "degree pieces"], v: Vector) -> Vector:
    """Evaluate a table at points of [0, 1]."""
    pieces = table.shape[1]
    scaled = v * pieces
    index = scaled.astype(np.intp)
    np.minimum(index, pieces - 1, out=index)
    scaled -= index
    scaled *= 2.0
    scaled -= 1.0
    out, row = np.empty_like(scaled), np.empty_like(scaled)
    table[DEGREE].take(index, out=out, mode="clip")
    for coefficients in table[DEGREE - 1 :: -1]:
        out *= scaled
        coefficients.take(index, out=row, mode="clip")
        out += row
    return out


def _integrate(g: Float[np.ndarray, "degree pieces"], power: int) -> Vector:
    """Return ``(integral from 0 to v of g(x) x**(power - 1) dx) / v**power`` at the nodes."""
    pieces = g.shape[1]
    points, weights = np.polynomial.legendre.leggauss(DEGREE + 2)
    start = np.arange(pieces) / pieces
    nodes = fit_nodes(pieces)
    length = nodes - np.repeat(start, DEGREE + 1)
    x = np.repeat(start, DEGREE + 1)[:, None] + np.outer(length, (1 + points) / 2)
    partial = (evaluate(g, x.reshape(-1)).reshape(x.shape) * x ** (power - 1)) @ weights
    partial *= length / 2
    full = (start[:, None] + (1 + points) / (2 * pieces)).reshape(-1)
    whole = (evaluate(g, full) * full ** (power - 1)).reshape(pieces, -1) @ weights / (2 * pieces)
    before = np.concatenate([[0.0], np.cumsum(whole)[:-1]])
    return (np.repeat(before, DEGREE + 1) + partial) / nodes**power


def _invert(tail: Float[np.ndarray, "degree pieces"], g: FloatArray, power: int) -> FloatArray:
    """Return the table of ``v / x`` where ``x = (tail mass / total)**(1/power)``."""
    pieces = tail.shape[1]
    total = evaluate(tail, np.ones(1))[0]
    x = fit_nodes(pieces)
    grid = np.linspace(0.0, 1.0, 4 * pieces + 1)
    v = np.interp(x, grid * (evaluate(tail, grid) / total) ** (1 / power), grid)
    for _ in range(3):
        ratio = evaluate(tail, v) / total
        slope = ratio ** (1 / power - 1) * evaluate(g, v) / (power * total)
        v = np.clip(v - (v * ratio ** (1 / power) - x) / slope, 0.0, 1.0)
    return fit(v / x)


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """One side of a law: the density of log lam, the mass beyond and its inverse, in ``v``.

    ``power`` is 3 at a soft edge, where ``v`` is the square root of the distance in log lam.
    """

    density: FloatArray
    tail: FloatArray
    inverse: FloatArray
    power: int

    @classmethod
    def build(
        cls, smooth: Vector, jacobian: float, power: int, total: float | None = None
    ) -> "Side":
        """Tabulate from ``density / v`` at the nodes; |dt/dv| is ``jacobian v**(power - 2)``."""
        density = fit(smooth)
        tail = fit(jacobian * _integrate(density, power))
        if total is not None:
            tail *= total / evaluate(tail, np.ones(1))[0]
        return cls(density, tail, _invert(tail, jacobian * density, power), power)

    @property
    def mass(self) -> float:
        """Return the mass between the edge and the split point."""
        return float(evaluate(self.tail, np.ones(1))[0])
