"""From a product of free layers to the resolvent of its spectrum, at every point or not at all.

A layer is ``D W + a`` with ``d`` the entries of ``D^2`` times N Var W. With ``u = z G = w + 1``,
``H = <d / (E - u d)>`` and ``z = E + a^2 / (1 - H)`` they obey (30) and (31) of docs/theory.md:

    z (1 + u H) = u E,       log z_J = log(u / w) + sum_l log(z_l w / u).

On the negative axis, u in (0, 1), each layer is one monotone real equation. From there the argument
of z is turned from pi to its target, where ``u`` is analytic, with Newton steps that are checked.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry._typing import Float
from isometry.errors import ConvergenceError
from isometry.theory.laws.arguments import ComplexArray
from isometry.theory.laws.piecewise import Vector

Numeric = NDArray[Any]
TOLERANCE = 1e-11
"""Last Newton step, relative: the next one, quadratically smaller, is below rounding."""


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

    def solve_real(self, u: Vector) -> Float[np.ndarray, "m groups"]:
        """Return E < 0 at u in (0, 1) by bisection in log(-E): ``u`` grows with ``-E`` (32)."""
        x = u[:, None, None]
        # exp(600) squared, times a^2, still fits float64; 64 halvings of 1200 reach rounding.
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

    @np.errstate(all="ignore")
    def newton(self, target: Numeric, u: Numeric, E: Numeric, *, steps: int) -> tuple:
        """Return ``(u, E, size)`` after Newton steps towards ``F = target``; size of the last."""
        size = np.full(u.shape, np.inf)
        for _ in range(steps):
            total, slope, gap, turn = self.linearise(u, E)
            du = (target - total) / slope
            dE = -gap - turn * du[:, None]
            u, E = u + du, E + dE
            size = np.abs(du / (u * (u - 1))) + np.max(np.abs(dE / E), axis=1)
            if size.max() < TOLERANCE:
                break
        return u, E, size


def negative_axis(layers: Layers, floor: float, t: Vector) -> tuple[Vector, Numeric]:
    """Return u and E at ``z = -exp(t)``: monotone in t, so interpolated and polished.

    Raises:
        ConvergenceError: If log lam leaves the range of float64's exponents.
    """
    logit = np.linspace(-30.0, 30.0, 241)  # four points a unit: interpolation is a start for Newton
    while True:
        u = floor + (1 - floor) / (1 + np.exp(-logit))
        E = layers.solve_real(u)
        known = layers.linearise(u, E)[0]
        if known[0] <= t.min() and known[-1] >= t.max():
            break
        if logit[-1] > 500:  # twice that leaves float64's exponents
            raise ConvergenceError("The range of log lam is too wide; lower `d` or the depth.")
        logit = logit * 2
    guess = np.interp(t, known, logit)
    u = floor + (1 - floor) / (1 + np.exp(-guess))
    return u, layers.solve_real(u)


@np.errstate(all="ignore")
def resolvent(layers: Layers, floor: float, t: Vector, angle: Vector) -> ComplexArray:
    """Return ``u = z G(z)`` at ``log z = t + i angle``, 0 <= angle <= pi, turning from pi.

    Raises:
        ConvergenceError: If a point is not reached with checked steps.
    """
    u, E = negative_axis(layers, floor, t)
    u, E, size = layers.newton(t, u, E, steps=50)  # many, as at the ends only bisection was exact
    if not size.max() < 1e-8:  # the root of what Newton leaves next to a double root
        raise ConvergenceError(f"The negative axis was reached to {size.max():.2g} only.")
    u, E = u + 0j, E + 0j
    turned, step = 0.0, 1 / 32  # of the half turn; it grows where it succeeds
    while turned < 1.0:
        share = min(step, 1.0 - turned)
        target = t + 1j * (turned + share) * (angle - math.pi)
        _, slope, _, turn = layers.linearise(u, E)
        du = 1j * share * (angle - math.pi) / slope
        new_u, new_E, size = layers.newton(target, u + du, E - turn * du[:, None], steps=6)
        # A corrector that moves a tenth of u, or leaves the half plane, may be on another branch.
        moved = np.abs((new_u - u - du) / (u * (u - 1)))
        good = (size < 1e-8) & (moved < 0.1) & (new_u.imag < 1e-9)
        if good.all():
            u, E, turned, step = new_u, new_E, turned + share, step * 1.5
        elif step < 1e-9:  # thirty halvings of no use: the point is singular, or inside a gap
            worst = np.flatnonzero(~good)[0]
            raise ConvergenceError(
                f"The resolvent at log lam = {t[worst]:.6g} was not reached; the support may have "
                "several intervals. Use the universal law or compare by simulation."
            )
        else:
            step /= 2
    return u


def upper_edge(layers: Layers) -> float:
    """Return log lam_+, where log z as a function of real u > 1 is stationary.

    Raises:
        ConvergenceError: If no stationary point was met.
    """
    means = layers.skip2 + layers.mean
    # Far out E = (a^2 + <d>) / (u - 1) to first order, and u - 1 = E lam / z. At the edge u - 1 is
    # of order 1 / (1 + sum <d> / (a^2 + <d>)): a hundred-thousandth of that is far out.
    start = math.log(1e-5 / (1 + float(layers.counts @ (layers.mean / means))))
    E = means * (1 + math.exp(-start))
    return _stationary(layers, 1.0, 1, start, E)


def lower_edge(layers: Layers, floor: float) -> float:
    """Return log lam_- > -inf, where log z as a function of real u < floor is stationary.

    Raises:
        ConvergenceError: If no stationary point was met.
    """
    if layers.skip2:
        # At u = 0 z vanishes with E = <d> - a^2. The less that is for a layer, the sooner its E
        # turns, by its square; a thousandth of that is a start.
        E = layers.mean - layers.skip2
        start = math.log(1e-3 * np.max(E / layers.skip2) ** 2 / (1 + layers.counts.sum()))
    else:
        # The layer with the atom has E -> 0 at u = floor, in proportion to 1 / <1/d>.
        start = math.log(1e-6 * floor)
        inverse = np.where(layers.d > 0, layers.weights / np.maximum(layers.d, 1e-300), 0.0)
        E = layers.solve_real(np.array([floor - math.exp(start)]))[0]
        E = np.where(layers.atom >= floor, floor * math.exp(start) / inverse.sum(axis=1), E)
    return _stationary(layers, floor, -1, start, E)


@np.errstate(all="ignore")
def _stationary(layers: Layers, pole: float, side: int, x: float, E: Vector) -> float:
    """Follow ``u = pole + side e^x`` until the slope of log z vanishes; return log z there.

    Raises:
        ConvergenceError: If it does not vanish before the layers lose their solution.
    """

    def u_of(x: float) -> float:
        return pole + side * math.exp(x)

    def settle(x: float, E: Vector) -> tuple[float, float, Vector]:
        u = np.array([u_of(x)])
        for _ in range(12):  # quadratic from a guess within a fifth of a step
            gap = layers.linearise(u, E[None])[2][0]
            E = E - gap
            if (np.abs(gap) <= 1e-11 * np.abs(E)).all():
                break
        total, slope, gap, _ = layers.linearise(u, E[None])
        return float(total[0]), float(slope[0]), E

    total, sign, E = settle(x, E)
    # Steps in x are factors of u: at most e^0.5, growing while no edge was overstepped. 1e-11 is
    # the edge to rounding; beyond e^60 there is none.
    step, growth, last = 0.5, 1.5, sign
    while step > 1e-11 and x < 60.0:
        turn = layers.linearise(np.array([u_of(x)]), E[None])[3][0]
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
