"""Laws read from tables: a chart per side of the support turns log lam into ``v`` in [0, 1].

At a soft edge ``v`` is the square root of the distance in log lam, so the density is regular in it;
at a hard edge (lam = 0) it is the power of lam by which the density of log lam decays.
"""

import abc
import dataclasses
import functools
import math

import numpy as np

from isometry._typing import Bool
from isometry.theory.laws.arguments import positive
from isometry.theory.laws.base import SpectralLaw
from isometry.theory.laws.piecewise import Side, Table, Vector, evaluate

SOFT, HARD = 3, 1
"""The power of ``v`` by which the mass beyond ``v`` vanishes, at either kind of edge."""

NEAR = 4e-3
"""Share of a side, next to its edge, where the distance to the edge is computed from lam itself."""

NODES = 400
"""Quadrature nodes per law; the rule converges geometrically."""

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
        signs = (-1.0) ** np.arange(left.shape[0])
        return np.ascontiguousarray(np.hstack([right, signs[:, None] * left[:, ::-1]]))

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


class TabulatedLaw(SpectralLaw):
    """A law whose density of log lam is tabulated; ``_shape`` excludes ``_scale``."""

    @abc.abstractmethod
    def _shape(self) -> Shape: ...

    @abc.abstractmethod
    def _edges(self) -> Edges: ...

    @abc.abstractmethod
    def _scale(self) -> float: ...

    def _is_point(self) -> bool:
        """Return whether all mass sits at ``_scale()``."""
        return False

    def atoms(self) -> tuple[Vector, Vector]:
        """Return the places and the weights of the atoms."""
        if self._is_point():
            return np.array([self._scale()]), np.ones(1)
        atom = self._atom()
        return np.zeros(int(atom > 0)), np.full(int(atom > 0), atom)

    def log_support(self) -> tuple[float, float]:
        """Return the logarithms of the edges of the continuous part."""
        log_scale = math.log(self._scale())
        if self._is_point():
            return log_scale, log_scale
        shape = self._shape()
        return shape.lower + log_scale, shape.upper + log_scale

    def support(self) -> tuple[float, float]:
        """Return the edges of the support; 0 or infinity where float64 cannot hold them."""
        if self._is_point():
            return self._scale(), self._scale()
        edges = self._edges()
        return 0.0 if self._atom() else edges.lower, edges.upper

    def _locate(self, lam: Vector) -> tuple[Vector, Mask]:
        """Return the chart's coordinate (0 off the support) and which points are left."""
        shape, scale = self._shape(), self._scale()
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            x = positive(lam)
            if shape.upper - shape.lower < 1.0:
                t = np.log1p((x - scale) / scale)
            else:
                t = np.log(x if scale == 1.0 else x / scale)
        left = t < shape.split
        d = self._refined(shape.distance(t, left), lam, left)
        v = np.sqrt(np.maximum(d, 0.0, out=d), out=d)
        if shape.decay:
            left_v = np.exp(shape.decay * np.minimum(t - shape.split, 0.0))
            v = np.where(left, np.where(lam > 0.0, left_v, 0.0), v)
        return v, left

    def _refined(self, d: Vector, lam: Vector, left: Mask) -> Vector:
        """Recompute small distances from lam, where the difference of logarithms cancels."""
        near = np.flatnonzero(np.abs(d) < NEAR)
        if near.size:
            shape, edges = self._shape(), self._edges()
            x, low = lam[near], left[near]
            if math.isfinite(edges.upper):
                over = ((edges.upper - x) + edges.upper_rest) / x
                new = np.log1p(over) / (shape.upper - shape.split)
                d[near] = np.where(low, d[near], new)
            if edges.lower > np.finfo(float).tiny and not shape.decay:
                over = ((x - edges.lower) - edges.lower_rest) / edges.lower
                new = np.log1p(over) / (shape.split - shape.lower)
                d[near] = np.where(low, new, d[near])
        return d

    def _density(self, lam: Vector) -> Vector:
        """Return the density of log lam."""
        if self._is_point():
            return np.zeros_like(lam)
        v, left = self._locate(lam)
        shape = self._shape()
        density = shape.read(shape.density, v, left)
        density *= v if shape.left.order == 1 else np.where(left, v**shape.left.order, v)
        return density

    def _tails(self, lam: Vector) -> tuple[Vector, Mask]:
        """Return the mass beyond lam on its own side, and which points are left."""
        v, left = self._locate(lam)
        shape = self._shape()
        tail = shape.read(shape.tail, v, left)
        if shape.left.power == shape.right.power:
            tail *= v
            tail *= v
            tail *= v
        else:
            tail *= np.where(left, v**shape.left.power, v**shape.right.power)
        return tail, left

    def _atom(self) -> float:
        """Return the mass at lam = 0."""
        return 0.0

    def _cdf(self, lam: Vector) -> Vector:
        if self._is_point():
            return (lam >= self._scale()).astype(np.float64)
        tail, left = self._tails(lam)
        return np.where(left, self._with_atom(tail, lam), 1.0 - tail)

    def _ccdf(self, lam: Vector) -> Vector:
        if self._is_point():
            return (lam < self._scale()).astype(np.float64)
        tail, left = self._tails(lam)
        return np.where(left, 1.0 - self._with_atom(tail, lam), tail)

    def _with_atom(self, tail: Vector, lam: Vector) -> Vector:
        """Return the mass at 0 plus the mass from there to lam."""
        return tail + np.where(lam >= 0.0, self._atom(), 0.0) if self._atom() else tail

    def _icdf(self, p: Vector) -> Vector:
        if self._is_point():
            return np.full_like(p, self._scale())
        shape, edges, atom = self._shape(), self._edges(), self._atom()
        left = p - atom < shape.left.mass
        if shape.left is shape.right:
            x = np.cbrt(2.0 * np.minimum(p, 1.0 - p))
            v = x * evaluate(shape.left.inverse, x)
            v *= v
            t = np.where(left, v - 1.0, 1.0 - v) * (shape.upper - shape.split)
        else:
            t = self._quantile_by_side(p - atom, left)
        out = np.exp(t)
        out *= self._scale()
        np.clip(out, edges.lower, edges.upper, out=out)
        out[p <= atom] = 0.0 if atom else edges.lower
        out[p == 1.0] = edges.upper
        return out

    def _quantile_by_side(self, p: Vector, left: Mask) -> Vector:
        """Return log lam at the continuous mass ``p``, each side through its own inverse."""
        shape, t = self._shape(), np.empty_like(p)
        for side, mine in ((shape.left, left), (shape.right, ~left)):
            mass = p[mine] if side is shape.left else 1.0 - self._atom() - p[mine]
            x = np.clip(mass / side.mass, 0.0, 1.0) ** (1 / side.power)
            v = side.coordinate(x)
            if side is shape.right:
                t[mine] = shape.upper - (shape.upper - shape.split) * v * v
            elif shape.decay:
                with np.errstate(divide="ignore"):
                    t[mine] = shape.split + np.log(v) / shape.decay
            else:
                t[mine] = shape.lower + (shape.split - shape.lower) * v * v
        return t

    def _quadrature(self) -> tuple[Vector, Vector]:
        if self._is_point():
            return np.empty(0), np.empty(0)
        t, weights = quadrature(self._shape(), NODES)
        return t + math.log(self._scale()), weights

    def _integrated_moment(self, n: float) -> float:
        if not self._is_point():
            shape = self._shape()
            if shape.decay and n <= -shape.decay * shape.left.order:
                return math.inf
        return super()._integrated_moment(n)


def quadrature(shape: Shape, count: int) -> tuple[Vector, Vector]:
    """Return nodes in log lam and weights for the continuous part, ``count`` a side."""
    points, weights = _legendre(count)
    v, weights = (1 + points) / 2, weights / 2
    right = 2 * (shape.upper - shape.split) * weights * v**2 * evaluate(shape.right.density, v)
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
