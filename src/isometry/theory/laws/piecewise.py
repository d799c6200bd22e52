"""Tables of a density whose logarithmic support has two edges: piecewise polynomials in chunks.

A side of the support, from an edge to the split point, is mapped to ``v`` in [0, 1] so that the
density of log lam is ``v`` times a smooth function. All a law answers is read from three tables:
``density / v``, ``tail mass / v**power`` and the inverse of the latter.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from isometry._typing import Float, FloatArray

Vector = Float[np.ndarray, "n"]
Table = Float[np.ndarray, "degree pieces"]
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


def fit(values: Vector) -> Table:
    """Return the local polynomials through ``values``, given at :func:`fit_nodes`."""
    return np.ascontiguousarray(_FIT @ values.reshape(-1, DEGREE + 1).T)


def evaluate(table: Table, v: Vector) -> Vector:
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


def _integrate(g: Table, power: int) -> Vector:
    """Return ``(integral from 0 to v of g(x) x**(power - 1) dx) / v**power`` at the nodes."""
    pieces = int(g.shape[1])
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


def _invert(tail: Table, g: Table, power: int) -> Table:
    """Return the table of ``v / x`` where ``x = (tail mass / total)**(1/power)``."""
    pieces = tail.shape[1]
    total = evaluate(tail, np.ones(1))[0]
    x = fit_nodes(pieces)
    grid = np.linspace(0.0, 1.0, 4 * pieces + 1)
    v = np.interp(x, grid * (evaluate(tail, grid) / total) ** (1 / power), grid)
    for _ in range(3):
        v = _polish(tail / total, g / total, power, x, v)
    return fit(v / x)


def _polish(tail: Table, g: Table, power: int, x: Vector, v: Vector) -> Vector:
    """Return v after a Newton step towards ``v * tail(v)**(1/power) = x``."""
    ratio = evaluate(tail, v)
    slope = ratio ** (1 / power - 1) * evaluate(g, v) / power
    return np.clip(v - (v * ratio ** (1 / power) - x) / slope, 0.0, 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """One side of a law: the density of t = log lam, the mass beyond and its inverse, in ``v``.

    The density vanishes like ``v**order`` and the mass like ``v**power``: 1 and 3 at a soft edge,
    equal at a hard one.
    """

    density: Table
    tail: Table
    inverse: Table
    power: int
    order: int
    jacobian: float

    @classmethod
    def build(
        cls, smooth: Vector, jacobian: float, power: int, *, order: int = 1, mass: float = 0.0
    ) -> "Side":
        """Tabulate from ``density / v**order`` at the nodes.

        ``jacobian * v**(power - order - 1)`` is |dt/dv|; ``mass``, if known, removes rounding.
        """
        density = fit(smooth)
        tail = fit(jacobian * _integrate(density, power))
        if mass:
            tail *= mass / evaluate(tail, np.ones(1))[0]
        return cls(density, tail, _invert(tail, jacobian * density, power), power, order, jacobian)

    @functools.cached_property
    def mass(self) -> float:
        """Return the mass between the edge and the split point."""
        return float(evaluate(self.tail, np.ones(1))[0])

    def coordinate(self, x: Vector) -> Vector:
        """Return v where a share ``x**power`` of the side's mass lies beyond."""
        v = np.clip(x * evaluate(self.inverse, x), 0.0, 1.0)
        tail, density = self.tail / self.mass, self.density * (self.jacobian / self.mass)
        return _polish(tail, density, self.power, x, v)
