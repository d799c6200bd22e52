"""Several intervals and atoms: what a law holds where its support is not one interval."""

import dataclasses
import functools
import math

import numpy as np

from isometry._typing import Float
from isometry.theory.laws.piecewise import Side, Vector
from isometry.theory.laws.tables import Edges, Shape, Tables


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """Tables of disjoint intervals, ascending, with their masses, and atoms; as :class:`Tables`.

    The tables are of probability laws; the masses and those of the atoms add up to 1.
    """

    parts: tuple[Tables, ...]
    masses: Float[np.ndarray, "parts"]
    places: Float[np.ndarray, "atoms"]
    weights: Float[np.ndarray, "atoms"]

    def atoms(self) -> tuple[Float[np.ndarray, "atoms"], Float[np.ndarray, "atoms"]]:
        return self.places, self.weights

    def log_support(self) -> tuple[float, float]:
        """Return the outer edges of the continuous part; of the atoms where there is none."""
        if not self.parts:
            with np.errstate(divide="ignore"):
                low, high = np.log([self.places.min(), self.places.max()])
            return float(low), float(high)
        return self.parts[0].log_support()[0], self.parts[-1].log_support()[1]

    def support(self) -> tuple[float, float]:
        edges = [edge for part in self.parts for edge in part.support()] + list(self.places)
        return float(min(edges)), float(max(edges))

    def density(self, lam: Vector, log: Vector | None) -> Vector:
        out = np.zeros_like(lam)
        for part, mass in zip(self.parts, self.masses, strict=True):
            out += mass * part.density(lam, log)
        return out

    def cdf(self, lam: Vector, log: Vector | None) -> Vector:
        out = (lam[:, None] >= self.places) @ self.weights
        for part, mass in zip(self.parts, self.masses, strict=True):
            out += mass * part.cdf(lam, log)
        return np.minimum(out, 1.0)

    def ccdf(self, lam: Vector, log: Vector | None) -> Vector:
        out = (lam[:, None] < self.places) @ self.weights
        for part, mass in zip(self.parts, self.masses, strict=True):
            out += mass * part.ccdf(lam, log)
        return np.minimum(out, 1.0)

    @functools.cached_property
    def _steps(self) -> tuple[Float[np.ndarray, "cuts"], list[tuple[float, float, Tables | float]]]:
        """Return the mass below every stretch of the support, and the stretches, ascending.

        A stretch is its mass below, its mass, and tables or the place of an atom. An atom inside
        an interval cuts it in two.
        """
        cuts: list[tuple[float, float, Tables | float]] = []
        below = 0.0
        pending = sorted(zip(self.places, self.weights, strict=True))
        for part, mass in zip(self.parts, self.masses, strict=True):
            done = 0.0
            while pending and pending[0][0] <= part.support()[1]:
                place, weight = pending.pop(0)
                reached = float(part.cdf(np.array([place]), None)[0])
                cuts.append((below - done * mass, reached * mass - done * mass, part))
                below += (reached - done) * mass
                cuts.append((below, weight, float(place)))
                below, done = below + weight, reached
            cuts.append((below - done * mass, (1 - done) * mass, part))
            below += (1 - done) * mass
        for place, weight in pending:
            cuts.append((below, weight, float(place)))
            below += weight
        ends = np.cumsum([mass for _, mass, _ in cuts])
        return ends, cuts

    def icdf(self, p: Vector) -> Vector:
        out = self._quantile(p, logs=False)
        low, high = self.support()
        out[p == 0.0], out[p == 1.0] = low, high
        return out

    def log_icdf(self, p: Vector) -> Vector:
        return self._quantile(p, logs=True)

    def _quantile(self, p: Vector, *, logs: bool) -> Vector:
        ends, cuts = self._steps
        index = np.minimum(np.searchsorted(ends, p), len(ends) - 1)
        out = np.empty_like(p)
        for k in {int(k) for k in index}:
            mine, (origin, _, held) = index == k, cuts[k]
            if isinstance(held, Tables):
                mass = self.masses[self.parts.index(held)]
                share = np.clip((p[mine] - origin) / mass, 0.0, 1.0)
                out[mine] = held.log_icdf(share) if logs else held.icdf(share)
            else:
                out[mine] = (math.log(held) if held else -math.inf) if logs else held
        return out

    def nodes(self) -> tuple[Vector, Vector]:
        """Return nodes in log lam and weights, those of the atoms last."""
        with np.errstate(divide="ignore"):
            nodes = [(np.log(self.places), self.weights)]
        for part, mass in zip(self.parts, self.masses, strict=True):
            t, weights = part.nodes()
            nodes.insert(0, (t, mass * weights))
        return np.concatenate([t for t, _ in nodes]), np.concatenate([w for _, w in nodes])


def tables_of(shape: Shape, atom: float) -> Tables:
    """Return the tables in units of lam from inside the interval."""
    scale = math.exp(min(max(shape.split, -700.0), 700.0))
    with np.errstate(over="ignore", under="ignore"):
        edges = Edges(float(np.exp(shape.lower)), 0.0, float(np.exp(shape.upper)), 0.0)
    return Tables(shape.moved(-math.log(scale)), edges, scale, atom)


def normalised(shape: Shape, mass: float) -> Shape:
    """Return the tables of the law of an interval on its own."""
    sides = (_divided(shape.left, mass), _divided(shape.right, mass))
    return dataclasses.replace(shape, left=sides[0], right=sides[1])


def _divided(side: Side, mass: float) -> Side:
    return dataclasses.replace(side, density=side.density / mass, tail=side.tail / mass)
