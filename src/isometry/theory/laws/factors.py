"""The factors of a free product as discrete spectra, and the equation that ties them together.

A chain ``A_L ... A_1`` maps spaces of sizes ``n_0, ..., n_L``. Write ``w = psi(1/z)`` for the
product on the first space, ``u = 1 + w`` and ``r_l = n_0 / n_l``. Squared singular values off 0 are
shared by ``A^T A`` and ``A A^T``, so on space l the same ``w`` reads ``r_l w``; with ``E_l`` the
point at which factor l, atoms ``t`` with weights ``p``, takes that value (derived here),

    sum p E_l / (E_l - t) = 1 + r_{l-1} w,
    log z = sum_l log E_l - sum_{0 < l < L} log((1 + r_l w) / (r_l w)).

For square factors this is z = (w / (1 + w))^(L-1) prod E_l.
"""

import dataclasses
import functools
import math
from typing import ClassVar, cast

import numpy as np

from isometry._typing import Bool, Float
from isometry.theory.laws.free_product import FORMING, Numeric, formed, log_product
from isometry.theory.laws.piecewise import Vector

BISECTIONS = 80
"""Halvings of the bracket in log(-E): from 2,000 to below the rounding of its ends."""

_FAR = 1000.0  # log(-E) beyond any scale of float64


@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """Groups of equal factors, and the spaces between factors.

    Args:
        t: Atoms of every group, padded with atoms of weight 0, >= 0.
        weights: Their weights; every row sums to 1.
        counts: How often each group occurs.
        ratios: ``n_0`` over the size of the space that each group acts on.
        spaces: ``n_0`` over the size of each kind of space between two factors.
        space_counts: How often each kind of space occurs.
    """

    t: Float[np.ndarray, "groups n"]
    weights: Float[np.ndarray, "groups n"]
    counts: Float[np.ndarray, "groups"]
    ratios: Float[np.ndarray, "groups"]
    spaces: Float[np.ndarray, "spaces"]
    space_counts: Float[np.ndarray, "spaces"]

    remedy: ClassVar[str] = "Change a weight a little, or give the factors fewer values."

    @functools.cached_property
    def means(self) -> Vector:
        """Return the mean of every group's spectrum."""
        return (self.weights * self.t).sum(axis=1)

    @functools.cached_property
    def inverse_means(self) -> Vector:
        """Return the mean of 1/t over the atoms off 0 of every group."""
        positive = self.t > 0
        return (np.where(positive, self.weights, 0.0) / np.where(positive, self.t, 1.0)).sum(axis=1)

    @functools.cached_property
    def zeros(self) -> Vector:
        """Return the weight of t = 0 in every group."""
        return np.where(self.t == 0.0, self.weights, 0.0).sum(axis=1)

    @functools.cached_property
    def reach(self) -> float:
        """Return the mass off 0 of the product: no factor, and no space, lets more through."""
        spaces = 1 / self.spaces if self.spaces.size else np.ones(1)
        return float(min(((1 - self.zeros) / self.ratios).min(), spaces.min(), 1.0))

    @property
    def floor(self) -> float:
        """Return the mass at lam = 0."""
        return max(1.0 - self.reach, 0.0)

    @functools.cached_property
    def binding(self) -> tuple[Bool[np.ndarray, "groups"], float]:
        """Return which groups fix the mass at 0, and how many factors more than spaces do."""
        groups = (1 - self.zeros) / self.ratios <= self.reach * (1 + 1e-12)
        spaces = 1 / self.spaces <= self.reach * (1 + 1e-12)
        return groups, float(groups @ self.counts - spaces @ self.space_counts)

    def log_mean(self) -> float:
        """Return ``log E lam``: means of free factors multiply, sizes of the spaces telescope."""
        return float(self.counts @ np.log(self.means))

    def decay(self) -> tuple[float, int]:
        """Return the power of lam that is regular at a hard edge (0 at a soft one), and the order.

        Several factors that become singular together make the density diverge at 0; one alone
        leaves a gap between 0 and the rest.
        """
        touching = self.binding[1]
        return (0.0 if touching <= 1 else 1 / touching), 1

    def solve_real(self, u: Vector) -> Float[np.ndarray, "m groups"]:
        """Return E < 0 at u in (floor, 1) by bisection in log(-E), in which the sum is monotone."""
        wanted = 1 + self.ratios * (u[:, None] - 1)
        low, high = np.full(wanted.shape, -_FAR), np.full(wanted.shape, _FAR)
        with np.errstate(over="ignore", divide="ignore"):
            log_t = np.log(self.t)
            for _ in range(BISECTIONS):
                middle = (low + high) / 2
                share = 1 / (1 + np.exp(log_t - middle[..., None]))
                small = np.einsum("mgn,gn->mg", share, self.weights) < wanted
                low, high = np.where(small, middle, low), np.where(small, high, middle)
        return -np.exp((low + high) / 2)

    @np.errstate(all="ignore")  # a trial step may be wild; what it gives is checked
    def linearise(self, u: Numeric, E: Numeric) -> tuple[Numeric, ...]:
        """Return ``F(u)``, its total derivative, and of each factor the gap and -dE/du.

        ``F`` is log z, minus i pi, corrected to first order for the factors' gaps.
        """
        w = u - 1
        g = 1 / (E[..., None] - self.t)
        slope_E = -np.einsum("mgn,gn->mg", self.t * g * g, self.weights)
        gap = self._excess(u, w, E, g) / slope_E
        turn = -self.ratios / slope_E
        # 1 + r w without the rounding of w: where u is small, so are E and 1 + w, and they cancel.
        x = self.spaces * w[:, None]
        y = u[:, None] + (self.spaces - 1) * w[:, None]
        slope = (self.spaces / (x * y)) @ self.space_counts - (turn / E) @ self.counts
        total = log_product((u / w)[:, None], E, self.counts, y / x, self.space_counts)
        return total - (gap / E) @ self.counts, slope, gap, turn

    def _excess(self, u: Numeric, w: Numeric, E: Numeric, g: Numeric) -> Numeric:
        """Return ``sum p E / (E - t) - 1 - r w``, accurate for small u and for small w."""
        small = np.abs(u)[:, None] < 0.5
        whole = E * np.einsum("mgn,gn->mg", g, self.weights)
        rest = np.einsum("mgn,gn->mg", self.t * g, self.weights)
        wanted = u[:, None] + (self.ratios - 1) * w[:, None]
        close, apart = whole - wanted, rest - self.ratios * w[:, None]
        return cast("Numeric", np.where(small, close, apart))

    def beyond(self, u: float) -> Vector:  # noqa: ARG002 (the atoms stay where they are)
        """Return the modulus of E above which there is no atom."""
        return 2 * self.t.max(axis=1)

    def start_above(self) -> tuple[float, Vector]:
        """Return log(u - 1) close to the pole at u = 1, z = infinity, and E there."""
        largest = np.where(self.weights > 0, self.t, 0.0).max(axis=1)
        near = (self.means / (self.ratios * largest)).min() / (1 + self.counts.sum())
        start = math.log(1e-4 * near)
        return start, self.means / (self.ratios * math.exp(start))

    def start_below(self) -> tuple[float, Vector]:
        """Return log(floor - u) close to the floor, where z = 0, and E there."""
        groups, _ = self.binding
        positive = (self.t > 0) & (self.weights > 0)
        smallest = np.where(positive, self.t, np.inf).min(axis=1)
        near = (smallest * self.inverse_means / self.ratios)[groups].min()
        start = math.log(1e-4 * near / (1 + self.counts.sum()))
        E = self.solve_real(np.array([self.floor - math.exp(start)]))[0]
        return start, np.where(groups, self.ratios * math.exp(start) / self.inverse_means, E)

    def atoms(self) -> tuple[Vector, Vector]:
        """Return places and weights of the atoms off 0; one of weight 0 just forms.

        One atom per factor leaves an atom at their product if the masses off them add up to less
        than 1 (for a product of two: Bercovici and Voiculescu 1998, Belinschi 2003).
        """
        chosen = self._heavy
        places = np.exp([self.counts @ np.log(t) for t, _ in chosen])
        return places, np.array([formed(float(1 - self.counts @ (1 - p))) for _, p in chosen])

    @functools.cached_property
    def _heavy(self) -> list[tuple[Vector, Vector]]:
        """Return, per atom of the product, the values of every group and their masses."""
        if not (self.ratios == 1).all() or not (self.spaces == 1).all():
            return []
        found: list[tuple[list[float], list[float], float]] = [([], [], 0.0)]
        for row, weights, count in zip(self.t, self.weights, self.counts, strict=True):
            heavy = {float(t): float(weights[row == t].sum()) for t in np.unique(row[row > 0])}
            found = [
                ([*values, t], [*masses, p], off + count * (1 - p))
                for values, masses, off in found
                for t, p in heavy.items()
                if off + count * (1 - p) < 1 + FORMING
            ]
        chosen = [(np.array(values), np.array(masses)) for values, masses, _ in found]
        return sorted(chosen, key=lambda pair: float(self.counts @ np.log(pair[0])))

    def at_atom(self, index: int, u: float) -> Vector:
        """Return E next to an atom, where u is large: each is next to its factor's value there."""
        values, masses = self._heavy[index]
        return values * (1 + masses / (u - 1))
