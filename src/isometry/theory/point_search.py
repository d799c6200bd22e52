r"""The search behind a working point: a grid of scales and shifts, then Newton from its minima.

Over a grid the shares are smooth in log beta and in delta. Every local minimum of the distance to
the two wanted shares starts a damped Gauss-Newton search for a point that reaches them; every one
of the distance in all orders starts a search for the nearest point. Along a branch on which the
shares are reached in the limit of a large scale alone (ELU becomes a ReLU), the smallest scale that
is near enough is found by bisection.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from isometry._typing import Float
from isometry.theory.activations.definition import Activation
from isometry.theory.hermite import Expansion, expand

_SCALES = np.geomspace(0.02, 1000.0, 46)
_PLACES = np.sinh(np.linspace(-3.5, 3.5, 41)) / 3  # of delta / sqrt(1 + beta^2), dense near 0
_FURTHEST = 6.0
_FLAT = 1e-8  # energy over E phi^2 of what is a constant, and its shares rounding
_NEAR = 0.005  # a distance in shares that no curve of learning was seen to show
_REACHED = 1e-9
_STEPS = 40

Vector = Float[np.ndarray, "2"]
Array = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class Target:
    """The wanted shares: of two orders, or of all that decide."""

    shares: Float[np.ndarray, "n"]
    sign: float = 1.0
    """Of the quadratic coefficient: it decides between points that are mirror images."""

    @property
    def complete(self) -> bool:
        """Whether there are more than the two that a point can be given."""
        return self.shares.size > 2


class Candidate(NamedTuple):
    """A point, how far it is from the two shares, and how far from all (or its fourth moment).

    ``mirrored`` says whether its quadratic coefficient has the other sign than the target's.
    """

    scale: float
    shift: float
    miss: float
    distance: float
    mirrored: bool = False


class Found(NamedTuple):
    """The chosen point, or none; the ranges of the two shares over the grid."""

    point: Candidate | None
    ranges: tuple[tuple[float, float], ...]


def search(act: Activation, target: Target, tolerance: float) -> Found:
    """Return the working point of an activation.

    Args:
        act: The activation.
        target: The wanted shares.
        tolerance: Largest distance of a share at a point that does not reach it.
    """
    return _Search(act, target).best(tolerance)


class _Search:
    def __init__(self, act: Activation, target: Target) -> None:
        self.act, self.target = act, target
        self.orders = max(3, target.shares.size)
        self.scales = np.ones(1) if self._has_no_scale() else _SCALES
        self.grid = np.full((self.scales.size, _PLACES.size, self.orders), np.nan)
        for i, scale in enumerate(self.scales.tolist()):
            for j, place in enumerate(_PLACES.tolist()):
                if abs(place) <= _FURTHEST:
                    self.grid[i, j] = self.shares(np.array([math.log(scale), place]))

    def expansion(self, at: Vector) -> Expansion:
        scale = math.exp(at[0])
        return expand(self.act, scale, float(at[1]) * math.hypot(1.0, scale), self.orders)

    def shares(self, at: Vector) -> Array:
        """Return the shares, NaN where phi is constant or overflows."""
        found = self.expansion(at)
        varies = found.energy > _FLAT * (found.energy + found.mean * found.mean)
        good = varies and math.isfinite(found.energy)
        return found.shares if good else np.full(self.orders, np.nan)

    def _has_no_scale(self) -> bool:
        """Return whether the shares depend on delta / beta alone, as ReLU's do."""
        if any(point != 0.0 for point in self.act.breakpoints):
            return False
        with np.errstate(all="ignore"):
            rows = [expand(self.act, b, 0.4 * b * s, 4).shares for b in (1.0, 3.0) for s in (1, -1)]
        return bool(np.abs(rows[0] - rows[2]).max() + np.abs(rows[1] - rows[3]).max() < 1e-9)

    def candidate(self, at: Vector) -> Candidate:
        found, wanted = self.expansion(at), self.target.shares
        gaps = np.abs(found.shares[: wanted.size] - wanted)
        last = float(np.linalg.norm(gaps)) if self.target.complete else found.fourth_moment
        scale = math.exp(at[0])
        mirrored = bool(found.coefficients[1] * self.target.sign < 0)
        shift = float(at[1]) * math.hypot(1.0, scale)
        return Candidate(scale, shift, float(gaps[:2].max()), last, mirrored)

    def best(self, tolerance: float) -> Found:
        """Return the point by the rule of :func:`isometry.working_point`."""
        ranges = tuple(
            (float(np.nanmin(self.grid[..., k])), float(np.nanmax(self.grid[..., k])))
            for k in range(2)
        )
        as_it_is = self.candidate(np.array([0.0, 0.0]))
        if as_it_is.miss < _REACHED and (not self.target.complete or as_it_is.distance < _REACHED):
            return Found(as_it_is, ranges)
        reached = [c for c in self._minima(2) if c.miss < _REACHED]
        if not self.target.complete:
            return Found(_first(reached or self._near(2, tolerance)), ranges)
        near = self._near(self.target.shares.size, tolerance)
        limit = min((c.distance for c in near), default=math.inf) + _NEAR
        return Found(_first([c for c in reached if c.distance <= limit] or near), ranges)

    def _near(self, orders: int, tolerance: float) -> list[Candidate]:
        """Return points that nearly have the shares: the smallest scale that is near enough."""
        branch = self._smallest_scale() if orders > 2 else None
        found = self._minima(orders) if branch is None else [branch, self._mirror(branch)]
        return [c for c in found if c.miss <= tolerance]

    def _mirror(self, point: Candidate) -> Candidate:
        """Return the candidate of the opposite shift: an odd phi's mirror image."""
        place = -point.shift / math.hypot(1.0, point.scale)
        return self.candidate(np.array([math.log(point.scale), place]))

    def _minima(self, orders: int) -> list[Candidate]:
        wanted = self.target.shares[:orders]
        gaps = np.linalg.norm(self.grid[..., :orders] - wanted, axis=-1)
        starts = self._starts(np.where(np.isfinite(gaps), gaps, np.inf))
        free = slice(0 if self.scales.size > 1 else 1, 2)  # without a scale of its own: the shift

        def gap(at: Vector) -> Array:
            return self.shares(at)[:orders] - wanted

        def from_start(start: Vector) -> Vector:
            fixed = start[: free.start]
            moved = _descend(lambda part: gap(np.append(fixed, part)), start[free])
            return np.append(fixed, moved)

        found = [self.candidate(from_start(start)) for start in starts]
        return [c for c in found if _SCALES[0] <= c.scale <= _SCALES[-1]]

    def _starts(self, gaps: Array) -> list[Vector]:
        """Return the grid's local minima, nearest first, at most eight."""
        padded = np.pad(gaps, 1, constant_values=np.inf)
        rows, columns = gaps.shape
        around = np.stack([
            padded[1 + i : 1 + i + rows, 1 + j : 1 + j + columns]
            for i in (-1, 0, 1) for j in (-1, 0, 1)
        ])  # fmt: skip
        low = np.argwhere((gaps <= around.min(axis=0)) & np.isfinite(gaps))
        low = low[np.argsort(gaps[tuple(low.T)], kind="stable")][:8]
        return [np.array([math.log(self.scales[i]), _PLACES[j]]) for i, j in low]

    def _smallest_scale(self) -> Candidate | None:
        """Return the point of the smallest scale that is near in all orders, if there is one."""
        wanted = self.target.shares
        distance = np.linalg.norm(self.grid[..., : wanted.size] - wanted, axis=-1)
        best = np.where(np.isfinite(distance), distance, np.inf)
        before = None
        for i, scale in enumerate(np.log(self.scales).tolist()):
            at = self._best_place(scale, float(_PLACES[int(best[i].argmin())]))
            if self.candidate(at).distance <= _NEAR:
                return self._bisected(before, at) if before is not None else self.candidate(at)
            before = at
        return None

    def _best_place(self, log_scale: float, start: float) -> Vector:
        def gaps(place: Array) -> Array:
            return self.shares(np.array([log_scale, place[0]])) - self.target.shares

        return np.array([log_scale, _descend(gaps, np.array([start]))[0]])

    def _bisected(self, far: Vector, near: Vector) -> Candidate:
        for _ in range(12):
            middle = self._best_place((far[0] + near[0]) / 2, (far[1] + near[1]) / 2)
            if self.candidate(middle).distance <= _NEAR:
                near = middle
            else:
                far = middle
        return self.candidate(near)


def _first(candidates: list[Candidate]) -> Candidate | None:
    """Return the nearest; of such with the target's sign; then that of the smallest scale."""
    if not candidates:
        return None
    nearest = min(c.distance for c in candidates)
    alike = [c for c in candidates if c.distance <= nearest + _NEAR]
    return min(alike, key=lambda c: (c.mirrored, round(math.log(c.scale), 5), abs(c.shift)))


def _descend(gaps: Callable[[Array], Array], start: Array) -> Array:
    """Return a local minimum of |gaps|, by Gauss-Newton steps that are halved until they gain."""
    at, here = start, gaps(start)
    for _ in range(_STEPS):
        step = 1e-6
        slopes = np.stack(
            [(gaps(at + e) - gaps(at - e)) / (2 * step) for e in step * np.eye(at.size)], axis=1
        )
        if not np.isfinite(slopes).all():
            break
        move = -np.linalg.lstsq(slopes, here, rcond=1e-8)[0]
        move *= min(1.0, 0.7 / max(float(np.abs(move).max()), 1e-300))
        for _ in range(12):
            there = gaps(at + move)
            if np.linalg.norm(there) < np.linalg.norm(here):
                break
            move = move / 2
        else:
            break
        gain = 1 - float(np.linalg.norm(there) / np.linalg.norm(here))
        at, here = at + move, there
        if gain < 1e-8 or np.linalg.norm(here) < 1e-13:
            break
    return at
