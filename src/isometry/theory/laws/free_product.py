"""From a product of free layers to the resolvent of its spectrum, at every point or not at all.

A layer is ``D W + a`` with ``d`` the entries of ``D^2`` times N Var W. With ``u = z G = w + 1``,
``H = <d / (E - u d)>`` and ``z = E + a^2 / (1 - H)`` they obey (30) and (31) of docs/theory.md:

    z (1 + u H) = u E,       log z_J = log(u / w) + sum_l log(z_l w / u).

On the negative axis, u in (0, 1), each layer is one monotone real equation. From there the argument
of z is turned from pi to its target, where ``u`` is analytic, with Newton steps that are checked.
"""

# E is what the formulas call it.
# pyright: reportConstantRedefinition=false

import dataclasses
import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from isometry._typing import Float
from isometry.errors import ConvergenceError
from isometry.theory.laws.arguments import ComplexArray
from isometry.theory.laws.piecewise import Vector

Numeric = NDArray[Any]
TOLERANCE = 1e-11
"""Last Newton step, relative: the next one, quadratically smaller, is below rounding."""

CRITICAL = 1e-9
"""Relative distance of ``<d>`` from ``skip^2`` below which a layer is critical at 0: rounding
of the two, with room; what is nearer to critical than its tables resolve fails their check."""


@runtime_checkable
class Product(Protocol):
    """What the continuation asks of a product of free factors."""

    @property
    def counts(self) -> Vector:
        """How often each group of equal factors occurs."""
        ...

    @property
    def floor(self) -> float:
        """The mass of the product at lam = 0."""
        ...

    def solve_real(self, u: Vector) -> Float[np.ndarray, "m groups"]:
        """Return E < 0 at u in (floor, 1), where z is negative."""
        ...

    def linearise(self, u: Numeric, E: Numeric) -> tuple[Numeric, ...]:
        """Return ``F(u)``, its total derivative, and of each factor the gap and -dE/du."""
        ...

    def log_mean(self) -> float:
        """Return ``log E lam``."""
        ...

    def decay(self) -> tuple[float, int]:
        """Return the power of lam that is regular at a hard edge (0 at a soft one), the order."""
        ...

    def start_above(self) -> tuple[float, Vector]:
        """Return log(u - 1) close to z = infinity, and E there."""
        ...

    def start_below(self) -> tuple[float, Vector]:
        """Return log(floor - u) close to z = 0, and E there."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Layers:
    """Groups of equal layers: ``d`` and ``weights`` by group and atom, how many, and ``a^2``."""

    d: Float[np.ndarray, "groups n"]
    weights: Float[np.ndarray, "groups n"]
    counts: Float[np.ndarray, "groups"]
    skip2: float

    @property
    def mean(self) -> Vector:
        """Return ``<d>`` of every group."""
        return (self.weights * self.d).sum(axis=1)

    def log_mean(self) -> float:
        """Return ``log E lam``: the means of free factors multiply."""
        return float(self.counts @ np.log(self.skip2 + self.mean))

    @property
    def atom(self) -> Vector:
        """Return the weight of ``d = 0`` in every group: with no skip, the layer's mass at 0."""
        return np.where(self.d == 0.0, self.weights, 0.0).sum(axis=1) * (self.skip2 == 0.0)

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
        ratio, factors = -u / w[:, 0], z * w / x
        if np.isrealobj(u):
            ratio, factors = np.abs(ratio), np.abs(factors)
        total = np.log(ratio) + (np.log(factors) - gap * z_E / z) @ self.counts
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


@np.errstate(all="ignore")
def newton(
    product: Product, target: Numeric, u: Numeric, E: Numeric, *, steps: int
) -> tuple[Numeric, ...]:
    """Return ``(u, E, size)`` after Newton steps towards ``F = target``; size of the last."""
    size = np.full(u.shape, np.inf)
    for _ in range(steps):
        total, slope, gap, turn = product.linearise(u, E)
        du = (target - total) / slope
        dE = -gap - turn * du[:, None]
        u, E = u + du, E + dE
        size = np.abs(du / (u * (u - 1))) + np.max(np.abs(dE / E), axis=1)
        if size.max() < TOLERANCE:
            break
    return u, E, size


def negative_axis(product: Product, floor: float, t: Vector) -> tuple[Vector, Numeric]:
    """Return u and E at ``z = -exp(t)``: monotone in t, so interpolated and polished.

    Raises:
        ConvergenceError: If log lam leaves the range of float64's exponents.
    """
    logit = np.linspace(-30.0, 30.0, 241)  # four points a unit: interpolation is a start for Newton
    while True:
        u = floor + (1 - floor) / (1 + np.exp(-logit))
        E = product.solve_real(u)
        known = product.linearise(u, E)[0]
        if known[0] <= t.min() and known[-1] >= t.max():
            break
        if logit[-1] > 500:  # twice that leaves float64's exponents
            raise ConvergenceError("The range of log lam is too wide; lower `d` or the depth.")
        logit = logit * 2
    guess = np.interp(t, known, logit)
    u = floor + (1 - floor) / (1 + np.exp(-guess))
    return u, product.solve_real(u)


@np.errstate(all="ignore")
def resolvent(product: Product, floor: float, t: Vector, angle: Vector) -> ComplexArray:
    """Return ``u = z G(z)`` at ``log z = t + i angle``, 0 <= angle <= pi, turning from pi.

    Raises:
        ConvergenceError: If a point is not reached with checked steps.
    """
    return continued(product, floor, t, angle)[0]


@np.errstate(all="ignore")
def continued(
    product: Product, floor: float, t: Vector, angle: Vector
) -> tuple[ComplexArray, ComplexArray]:
    """Return ``u`` and the factors' ``E`` at ``log z = t + i angle``, turning from pi.

    Every point has a step of its own: one step for all took that of the hardest point, and 12
    different factors needed five times as many solutions.

    Raises:
        ConvergenceError: If a point is not reached with checked steps.
    """
    u, E = negative_axis(product, floor, t)
    u, E, size = newton(product, t, u, E, steps=50)  # many: at the ends only bisection is exact
    if not size.max() < 1e-8:  # the root of what Newton leaves next to a double root
        raise ConvergenceError(f"The negative axis was reached to {size.max():.2g} only.")
    return followed(product, u + 0j, E + 0j, t + 0j, t + 1j * (angle - math.pi))


@np.errstate(all="ignore")
def followed(
    product: Product, u: ComplexArray, E: ComplexArray, start: Numeric, target: Numeric
) -> tuple[ComplexArray, ComplexArray]:
    """Return ``u`` and ``E`` at ``F = target`` from those at ``F = start``, along straight lines.

    Raises:
        ConvergenceError: If a point is not reached with checked steps.
    """
    u, E = u.copy(), E.copy()
    gone, step = np.zeros(len(u)), np.full(len(u), 1 / 32)  # of the way; it grows where it succeeds
    sweep = target - start
    active = np.arange(len(u))
    while active.size:
        share = np.minimum(step[active], 1.0 - gone[active])
        old_u, old_E = u[active], E[active]
        _, slope, _, turn = product.linearise(old_u, old_E)
        du = share * sweep[active] / slope
        aim = start[active] + (gone[active] + share) * sweep[active]
        guess = old_u + du
        new_u, new_E, size = newton(product, aim, guess, old_E - turn * du[:, None], steps=6)
        moved = np.abs((new_u - guess) / (old_u * (old_u - 1)))
        # A corrector that moves a tenth of u, or leaves the half plane, may be on another branch.
        good = (size < 1e-8) & (moved < 0.1) & (np.imag(new_u) < 1e-9)
        lost = ~good & (step[active] < 1e-9)  # thirty halvings of no use: a singular point
        if lost.any():
            place = float(np.real(target[active[lost][0]]))
            raise ConvergenceError(
                f"The resolvent at log lam = {place:.6g} was not reached; "
                "the support may have several intervals. Use the universal law or compare by "
                "simulation."
            )
        done = active[good]
        u[done], E[done], gone[done] = new_u[good], new_E[good], gone[done] + share[good]
        step[active] *= np.where(good, 2.0, 0.5)
        active = np.flatnonzero(gone < 1.0)
    return u, E


@np.errstate(all="ignore")  # layers beyond float64 end in an edge that is not found
def upper_edge(product: Product) -> float:
    """Return log lam_+, where log z as a function of real u > 1 is stationary.

    Raises:
        ConvergenceError: If no stationary point was met.
    """
    return _stationary(product, 1.0, 1, *product.start_above())


@np.errstate(all="ignore")
def lower_edge(product: Product, floor: float) -> float:
    """Return log lam_- > -inf, where log z as a function of real u < floor is stationary.

    Raises:
        ConvergenceError: If no stationary point was met.
    """
    return _stationary(product, floor, -1, *product.start_below())


@np.errstate(all="ignore")
def _stationary(product: Product, pole: float, side: int, x: float, E: Vector) -> float:
    """Follow ``u = pole + side e^x`` until the slope of log z vanishes; return log z there.

    Raises:
        ConvergenceError: If it does not vanish before the layers lose their solution.
    """

    def u_of(x: float) -> float:
        return pole + side * math.exp(x)

    def settle(x: float, E: Vector) -> tuple[float, float, Vector]:
        u = np.array([u_of(x)])
        for _ in range(12):  # quadratic from a guess within a fifth of a step
            gap = product.linearise(u, E[None])[2][0]
            E = E - gap
            if (np.abs(gap) <= 1e-11 * np.abs(E)).all():
                break
        total, slope, gap, _ = product.linearise(u, E[None])
        return float(total[0]), float(slope[0]), E

    total, sign, E = settle(x, E)
    # Steps in x are factors of u: at most e^0.5, growing while no edge was overstepped. 1e-11 is
    # the edge to rounding; beyond e^60 there is none.
    step, growth, last = 0.5, 1.5, sign
    while step > 1e-11 and x < 60.0:
        turn = product.linearise(np.array([u_of(x)]), E[None])[3][0]
        guess = E * np.exp(-turn * (u_of(x) - pole) / E * step)
        ahead, slope, new = settle(x + step, guess)
        smooth = np.all(np.abs(new / guess - 1) < 0.2 * step)  # else another branch of E
        if smooth and slope * sign > 0:
            x, E, total, last = x + step, new, ahead, slope
            step = min(growth * step, 0.5)
        else:
            growth = 1.0 if smooth else growth
            step /= 2
    # The steps may end where a layer loses its solution: the slope is not small there.
    if not abs(last * (u_of(x) - pole)) < 1e-3:
        raise ConvergenceError("An edge of the support was not found; check `d` and `skip`.")
    return total
