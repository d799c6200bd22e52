"""A law as tables: a chart per side of the support turns log lam into ``v`` in [0, 1].

At a soft edge ``v`` is the square root of the distance in log lam, so the density is regular in it;
at a hard edge (lam = 0) it is the power of lam by which the density of log lam decays.
"""

import dataclasses
import functools
import math

import numpy as np

from isometry._typing import Bool
from isometry.theory.laws.arguments import TINY, positive
from isometry.theory.laws.piecewise import Side, Table, Vector, evaluate

SOFT, HARD = 3, 1
"""The power of ``v`` by which the mass beyond ``v`` vanishes, at either kind of edge."""

NEAR = 4e-3
"""Share of a side, next to its edge, where the distance to it is computed from lam itself: the
difference of two logarithms would lose three digits or more."""

NODES = 400
"""Quadrature nodes a side; the rule converges geometrically: moments of order 200 agree with (19)
to rounding at c = 1 and 4."""

USUAL = 1024
"""Pieces of a table; a side with narrow bumps has more."""

Mask = Bool[np.ndarray, "n"]


@dataclasses.dataclass(frozen=True)
class Edges:
    """The edges of lam, each as a float and the rest it lacks; log lam cancels near them."""

    lower: float
    lower_rest: float
    upper: float
    upper_rest: float


@dataclasses.dataclass(frozen=True, eq=False)
class Shape:
    """A tabulated density of ``t = log lam``: two sides that meet at ``split``.

    With a hard edge at lam = 0, ``lower`` is minus infinity and the density of ``t`` decays like
    ``exp(decay * t)``. ``left is right`` where the density is even around ``split``.
    """

    lower: float
    upper: float
    split: float
    left: Side
    right: Side
    decay: float = 0.0

    @functools.cached_property
    def density(self) -> np.ndarray:
        """Return the table of ``density / v`` over both sides."""
        return self._join(self.right.density, self.left.density)

    @functools.cached_property
    def tail(self) -> np.ndarray:
        """Return the table of ``mass beyond / v**power`` over both sides."""
        return self._join(self.right.tail, self.left.tail)

    def _join(self, right: Table, left: Table) -> np.ndarray:
        """Return one table: the right side from its edge, then the left one towards its own."""
        if self.left is self.right:
            return right
        signs = (-1.0) ** np.arange(len(left))
        return np.ascontiguousarray(np.hstack([right, signs[:, None] * left[:, ::-1]]))

    def moved(self, by: float) -> "Shape":
        """Return the shape on an axis of log lam that is moved."""
        return dataclasses.replace(
            self, lower=self.lower + by, upper=self.upper + by, split=self.split + by
        )

    def distance(self, t: Vector, left: Mask) -> Vector:
        """Return the distance to the nearer soft edge as a share of its side."""
        if self.left is self.right and self.split == 0.0:
            d = np.abs(t)
            d *= -1 / self.upper
            d += 1.0
            return d
        d = (self.upper - t) / (self.upper - self.split)
        if not self.decay:
            d = np.where(left, (t - self.lower) / (self.split - self.lower), d)
        return d

    def read(self, table: Table, v: Vector, left: Mask) -> Vector:
        """Evaluate a joined table."""
        if self.left is self.right:
            return evaluate(table, v)
        return evaluate(table, np.where(left, 2.0 - v, v) / 2)


@dataclasses.dataclass(frozen=True, eq=False)
class Tables:
    """A tabulated law, scaled, with an atom at lam = 0.

    Every method takes vectors. Where lam itself may have left float64's range its logarithm is
    given as well, and lam serves near the edges only.
    """

    shape: Shape
    edges: Edges
    scale: float = 1.0
    atom: float = 0.0

    @functools.cached_property
    def log_scale(self) -> float:
        """Return the logarithm of the unit of lam in which the shape is tabulated."""
        return math.log(self.scale)

    def atoms(self) -> tuple[Vector, Vector]:
        count = int(self.atom > 0)
        return np.zeros(count), np.full(count, self.atom)

    def log_support(self) -> tuple[float, float]:
        return self.shape.lower + self.log_scale, self.shape.upper + self.log_scale

    def support(self) -> tuple[float, float]:
        return 0.0 if self.atom else self.edges.lower, self.edges.upper

    @np.errstate(all="ignore")  # what leaves float64's range is off the support
    def _locate(self, lam: Vector, log: Vector | None) -> tuple[Vector, Mask]:
        """Return the chart's coordinate (0 off the support) and which points are left."""
        shape = self.shape
        t = self._relative_log(lam) if log is None else log - self.log_scale
        left = t < shape.split
        d = self._refined(shape.distance(t, left), lam, left)
        v = np.sqrt(np.maximum(d, 0.0, out=d), out=d)
        if shape.decay:
            v = np.where(left, np.exp(shape.decay * np.minimum(t - shape.split, 0.0)), v)
        if log is None and lam.size and not lam.min() > 0.0:
            none = lam <= 0.0
            v[none], left[none] = 0.0, True
        return v, left

    def _relative_log(self, lam: Vector) -> Vector:
        """Return ``log(lam / scale)``; a difference of two logarithms would lose digits."""
        x, scale = positive(lam), self.scale
        if self.shape.upper - self.shape.lower < 1.0:
            return np.log1p((x - scale) / scale)
        if scale == 1.0:
            return np.log(x)
        ratio = x / scale
        t = np.log(ratio)
        lost = ~((ratio >= TINY) & (ratio < np.inf))
        t[lost] = np.log(x[lost]) - self.log_scale
        return t

    def _refined(self, d: Vector, lam: Vector, left: Mask) -> Vector:
        """Recompute small distances from lam, where the difference of logarithms cancels."""
        near = np.flatnonzero(np.abs(d) < NEAR)
        if near.size:
            shape, edges = self.shape, self.edges
            x, low = lam[near], left[near]
            if math.isfinite(edges.upper):
                over = ((edges.upper - x) + edges.upper_rest) / x
                new = np.log1p(over) / (shape.upper - shape.split)
                d[near] = np.where(low, d[near], new)
            if edges.lower > TINY and not shape.decay:
                over = ((x - edges.lower) - edges.lower_rest) / edges.lower
                new = np.log1p(over) / (shape.split - shape.lower)
                d[near] = np.where(low, new, d[near])
        return d

    def density(self, lam: Vector, log: Vector | None) -> Vector:
        """Return the density of log lam."""
        v, left = self._locate(lam, log)
        shape = self.shape
        density = shape.read(shape.density, v, left)
        orders = shape.left.order, shape.right.order
        with np.errstate(divide="ignore"):  # infinite at an edge where an atom just forms
            density *= v if orders == (1, 1) else np.where(left, v ** orders[0], v ** orders[1])
        return density

    def _tails(self, lam: Vector, log: Vector | None) -> tuple[Vector, Mask]:
        """Return the mass beyond lam on its own side, and which points are left."""
        v, left = self._locate(lam, log)
        shape = self.shape
        tail = shape.read(shape.tail, v, left)
        if shape.left.power == shape.right.power == SOFT:
            tail *= v
            tail *= v
            tail *= v
        else:
            tail *= np.where(left, v**shape.left.power, v**shape.right.power)
        return tail, left

    def cdf(self, lam: Vector, log: Vector | None) -> Vector:
        tail, left = self._tails(lam, log)
        return np.where(left, self._with_atom(tail, lam), 1.0 - tail)

    def ccdf(self, lam: Vector, log: Vector | None) -> Vector:
        tail, left = self._tails(lam, log)
        return np.where(left, 1.0 - self._with_atom(tail, lam), tail)

    def _with_atom(self, tail: Vector, lam: Vector) -> Vector:
        """Return the mass at 0 plus the mass from there to lam."""
        return tail + np.where(lam >= 0.0, self.atom, 0.0) if self.atom else tail

    @np.errstate(over="ignore", under="ignore")
    def icdf(self, p: Vector) -> Vector:
        """Return quantiles: 0 or infinity where float64 cannot hold them."""
        t = self._quantile(p)
        out = np.exp(t)
        out *= self.scale
        lost = ~((out >= TINY) & (out < np.inf))
        out[lost] = np.exp(t[lost] + self.log_scale)
        np.clip(out, self.edges.lower, self.edges.upper, out=out)
        out[p <= self.atom] = 0.0 if self.atom else self.edges.lower
        out[p == 1.0] = self.edges.upper
        return out

    def log_icdf(self, p: Vector) -> Vector:
        """Return the logarithms of quantiles."""
        lower, upper = self.log_support()
        t = np.clip(self._quantile(p) + self.log_scale, lower, upper)
        t[p <= self.atom] = -math.inf if self.atom else lower
        t[p == 1.0] = upper
        return t

    def _quantile(self, p: Vector) -> Vector:
        """Return ``log(lam / scale)`` at p; what p = 0, the atom's and p = 1 give is corrected."""
        shape = self.shape
        left = p - self.atom < shape.left.mass
        if shape.left is not shape.right:
            return self._quantile_by_side(p - self.atom, left)
        x = np.cbrt(2.0 * np.minimum(p, 1.0 - p))
        v = x * evaluate(shape.left.inverse, x)
        v *= v
        return np.where(left, v - 1.0, 1.0 - v) * (shape.upper - shape.split)

    @np.errstate(divide="ignore", over="ignore", under="ignore")
    def _quantile_by_side(self, p: Vector, left: Mask) -> Vector:
        """Return log(lam / scale) at the continuous mass ``p``, each side by its own inverse."""
        shape, t = self.shape, np.empty_like(p)
        for side, mine in ((shape.left, left), (shape.right, ~left)):
            mass = p[mine] if side is shape.left else 1.0 - self.atom - p[mine]
            x = np.clip(mass / side.mass, 0.0, 1.0) ** (1 / side.power)
            v = side.coordinate(x)
            if side is shape.right:
                t[mine] = shape.upper - (shape.upper - shape.split) * v * v
            elif shape.decay:
                t[mine] = shape.split + np.log(v) / shape.decay
            else:
                t[mine] = shape.lower + (shape.split - shape.lower) * v * v
        return t

    @property
    def least_moment(self) -> float:
        """Return the order at and below which moments are infinite: that of a hard edge."""
        shape = self.shape
        return -shape.decay * shape.left.order if shape.decay else -math.inf

    def nodes(self) -> tuple[Vector, Vector]:
        """Return nodes in log lam and weights, the atom's last."""
        t, weights = quadrature(self.shape, NODES)
        t += self.log_scale
        return (np.append(t, -np.inf), np.append(weights, self.atom)) if self.atom else (t, weights)


def quadrature(shape: Shape, count: int) -> tuple[Vector, Vector]:
    """Return nodes in log lam and weights for the continuous part, ``count`` a side.

    Tables of more pieces than usual hold bumps that one rule over a side misses: each of their
    pieces gets two nodes.
    """
    points, weights = _legendre(count)
    if shape.left.density.shape[1] > USUAL:
        points, weights = _composite(shape.left.density.shape[1])
    v, weights = (1 + points) / 2, weights / 2
    right = 2 * (shape.upper - shape.split) * weights * v ** (shape.right.power - 1)
    right = right * evaluate(shape.right.density, v)
    t_right = shape.upper - (shape.upper - shape.split) * v * v
    if shape.decay:  # log v is singular at 0: v = y^3 smooths it
        v, weights = v**3, 3 * v**2 * weights
    left = weights * v ** (shape.left.power - 1) * evaluate(shape.left.density, v)
    if shape.decay:
        left, t_left = left / shape.decay, shape.split + np.log(v) / shape.decay
    else:
        left = 2 * (shape.split - shape.lower) * left
        t_left = shape.lower + (shape.split - shape.lower) * v * v
    return np.concatenate([t_left, t_right]), np.concatenate([left, right])


@functools.lru_cache(maxsize=8)
def _legendre(count: int) -> tuple[Vector, Vector]:
    return np.polynomial.legendre.leggauss(count)


@functools.lru_cache(maxsize=4)
def _composite(pieces: int) -> tuple[Vector, Vector]:
    """Return Gauss's rule of two points on every one of equal pieces of [-1, 1]."""
    centres = (2 * np.arange(pieces) + 1) / pieces - 1
    points = centres[:, None] + np.array([-1, 1]) / (math.sqrt(3) * pieces)
    return points.reshape(-1), np.full(2 * pieces, 1 / pieces)
