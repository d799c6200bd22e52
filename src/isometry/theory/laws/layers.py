# pyright: reportConstantRedefinition=false
"""Layers ``D W + a`` as factors of a free product.

With ``d`` the entries of ``D^2`` times N Var W, ``H = <d / (E - u d)>`` and
``z = E + a^2 / (1 - H)`` a layer obeys (30) of docs/theory.md, ``z (1 + u H) = u E``; the product
obeys (31).
"""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from isometry._typing import Float
from isometry.theory.laws.free_product import FORMING, Numeric, formed, log_product
from isometry.theory.laws.piecewise import Vector

CRITICAL = 1e-9
"""Relative distance of ``<d>`` from ``skip^2`` below which a layer is critical at 0: rounding
of the two, with room; what is nearer to critical than its tables resolve fails their check."""


@dataclasses.dataclass(frozen=True, eq=False)
class Layers:
    """Groups of equal layers: ``d`` and ``weights`` by group and atom, how many, and ``a^2``."""

    d: Float[np.ndarray, "groups n"]
    weights: Float[np.ndarray, "groups n"]
    counts: Float[np.ndarray, "groups"]
    skip2: float

    remedy: ClassVar[str] = (
        "Change `d`, its weights or the depth (of an activation, `sigma_w` by a fifth), or take "
        "the universal law."
    )

    @property
    def mean(self) -> Vector:
        """Return ``<d>`` of every group."""
        return (self.weights * self.d).sum(axis=1)

    def log_mean(self) -> float:
        """Return ``log E lam``: the means of free factors multiply."""
        return float(self.counts @ np.log(self.skip2 + self.mean))

    @property
    def dead(self) -> Vector:
        """Return the weight of ``d = 0`` in every group."""
        return np.where(self.d == 0.0, self.weights, 0.0).sum(axis=1)

    @property
    def atom(self) -> Vector:
        """Return the mass of every group's layer at 0: that of the dead units with no skip."""
        return self.dead * (self.skip2 == 0.0)

    @property
    def floor(self) -> float:
        """Return the mass of the product at lam = 0."""
        return float(self.atom.max())

    def solve_real(self, u: Vector) -> Float[np.ndarray, "m groups"]:
        """Return E < 0 at u in (0, 1) by bisection in log(-E): ``u`` grows with ``-E`` (32)."""
        # exp(600) squared, times a^2, still fits float64; 64 halvings of 1200 reach rounding.
        x = u[:, None, None]
        low, high = np.full((2, u.size, self.counts.size), [[[-600.0]], [[600.0]]])
        for _ in range(64):
            middle = (low + high) / 2
            e = np.exp(middle)
            g = 1 / (e[..., None] + x * self.d)
            h = np.einsum("mgn,gn->mg", g, self.weights * self.d)
            size = (1 - self.skip2 / (e * (1 + h))) * e * np.einsum("mgn,gn->mg", g, self.weights)
            small = size < u[:, None]
            low, high = np.where(small, middle, low), np.where(small, high, middle)
        return -np.exp((low + high) / 2)

    @np.errstate(all="ignore")  # a trial step may be wild; what it gives is checked
    def linearise(self, u: Numeric, E: Numeric) -> tuple[Numeric, ...]:
        """Return ``F(u)``, its total derivative, and of each layer the gap and -dE/du.

        ``F`` is log z_J of (31), minus i pi, corrected to first order for the layers' gaps: u and
        all E are then one Newton iteration, not one inside another.
        """
        x, w = u[:, None], u[:, None] - 1
        g = 1 / (E[..., None] - x[..., None] * self.d)
        g2 = g * g
        weighted = self.weights * self.d
        H = np.einsum("mgn,gn->mg", g, weighted)
        H_E = -np.einsum("mgn,gn->mg", g2, weighted)
        H_u = np.einsum("mgn,gn->mg", g2, weighted * self.d)
        p = 1 - H
        z = E + self.skip2 / p
        z_E, z_u = 1 + self.skip2 / p**2 * H_E, self.skip2 / p**2 * H_u
        f_E = z_E * (1 + x * H) + z * x * H_E - x
        gap = (z * (1 + x * H) - x * E) / f_E
        turn = (z_u * (1 + x * H) + z * (H + x * H_u) - E) / f_E
        total = log_product(x / w, z, self.counts) - (gap * z_E / z) @ self.counts
        slope = 1 / u - 1 / w[:, 0]
        slope = slope + ((z_u - z_E * turn) / z + 1 / w - 1 / x) @ self.counts
        return total, slope, gap, turn

    def decay(self) -> tuple[float, int]:
        """Return the power of lam that is ``v`` at a hard edge (0 if soft), and the order (33)."""
        atom, counts = self.atom, self.counts
        if self.skip2 == 0.0:
            touching = counts[atom == atom.max()].sum() + (atom.max() == 0.0)
            return (0.0 if touching == 1 else float(1 / touching)), 1
        gap = self.skip2 - self.mean
        critical = np.abs(gap) <= CRITICAL * self.skip2
        exponent = np.where(critical, 0.5, np.where(gap < 0, 1.0, 0.0)) @ counts
        order = 2 if critical.any() else 1
        return (float(1 / (order * (1 + exponent))) if exponent else 0.0), order

    def atoms(self) -> tuple[Vector, Vector]:
        """Return places and weights of the atoms off 0.

        A layer with a share p of dead units differs from a times an isometry in at most 2 (1 - p) N
        dimensions: what these leave of the product is at a^(2L). One of weight 0 just forms.
        """
        mass = 1.0 - 2.0 * float(self.counts @ (1.0 - self.dead))
        if not (self.skip2 and mass > -FORMING):
            return np.empty(0), np.empty(0)
        return np.array([self.skip2 ** self.counts.sum()]), np.array([formed(mass)])

    def at_atom(self, index: int, u: float) -> Vector:  # noqa: ARG002 (there is one at most)
        """Return E next to the atom, where u is large: there ``u E`` is ``a^2`` times the dead."""
        return self.skip2 * self.dead / u

    def beyond(self, u: float) -> Vector:
        """Return the modulus of E above which no unit's E = u d is."""
        return abs(u) * self.d.max(axis=1) + self.skip2

    def start_above(self) -> tuple[float, Vector]:
        """Return log(u - 1) close to the pole at u = 1, z = infinity, and E there."""
        # Far out E = (a^2 + <d>) / (u - 1) to first order, and u - 1 = E lam / z. At the edge u - 1
        # is of order 1 / (1 + sum <d> / (a^2 + <d>)): a hundred-thousandth of that is far out.
        means = self.skip2 + self.mean
        start = math.log(1e-5 / (1 + float(self.counts @ (self.mean / means))))
        return start, means * (1 + math.exp(-start))

    def start_below(self) -> tuple[float, Vector]:
        """Return log(floor - u) close to the floor, where z = 0, and E there."""
        if self.skip2:
            # At u = 0 z vanishes with E = <d> - a^2. The less that is for a layer, the sooner its
            # E turns, by its square; a thousandth of that is a start.
            E = self.mean - self.skip2
            return math.log(1e-3 * np.max(E / self.skip2) ** 2 / (1 + self.counts.sum())), E
        # The layer with the atom has E -> 0 at u = floor, in proportion to 1 / <1/d>.
        floor = float(self.atom.max())
        start = math.log(1e-6 * floor)
        inverse = np.where(self.d > 0, self.weights / np.maximum(self.d, 1e-300), 0.0)
        E = self.solve_real(np.array([floor - math.exp(start)]))[0]
        at_atom: Vector = floor * math.exp(start) / inverse.sum(axis=1)
        return start, np.where(self.atom >= floor, at_atom, E)
