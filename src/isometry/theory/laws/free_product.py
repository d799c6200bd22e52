"""From a product of free factors to the resolvent of its spectrum, at every point or not at all.

A factor ties a point E of its own to ``u = z G = w + 1`` of the product; (31) of docs/theory.md,

    log z_J = log(u / w) + sum_l log(z_l w / u),

is one equation for u. On the negative axis, u in (0, 1), each factor is one monotone real equation.
From there the argument of z is turned from pi to its target, where ``u`` is analytic, with Newton
steps that are checked.
"""

# E is what the formulas call it.
# pyright: reportConstantRedefinition=false

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

    def atoms(self) -> tuple[Vector, Vector]:
        """Return places and weights of the atoms off 0."""
        ...

    def beyond(self, u: float) -> Vector:
        """Return the modulus of E above which no factor has a pole."""
        ...

    def start_above(self) -> tuple[float, Vector]:
        """Return log(u - 1) close to z = infinity, and E there."""
        ...

    def start_below(self) -> tuple[float, Vector]:
        """Return log(floor - u) close to z = 0, and E there."""
        ...


def log_product(
    unit: Numeric,
    z: Numeric,
    counts: Vector,
    spaces: Numeric | None = None,
    space_counts: Float[np.ndarray, "kinds"] | None = None,
) -> Numeric:
    """Return log z_J, minus i pi, from ``unit`` = u / w of shape (m, 1) and the factors' z.

    ``spaces``, (1 + r w) / (r w) of each space between factors, are ``unit`` where all are square.
    What cancels is taken out of the moduli first. The arguments of -z and of -u / w run from 0 down
    to -pi as z_J turns from the negative axis to the positive one. In a gap of the support they end
    on the real axis, where the principal branch jumps with the sign of a rounding error: so they
    are counted apart.
    """
    size = np.log(np.abs(unit[:, 0])) + np.log(np.abs(z / unit)) @ counts
    if spaces is not None:
        size = size - np.log(np.abs(spaces / unit)) @ space_counts
    if np.isrealobj(z):
        return size
    between = (
        _turned(unit[:, 0]) * (counts.sum() - 1)
        if spaces is None
        else _turned(spaces) @ space_counts
    )
    turned: Numeric = size + 1j * (_turned(z) @ counts - between)
    return turned


def _turned(x: Numeric) -> Numeric:
    """Return the argument of -x between -3 pi / 2 and pi / 2."""
    return np.angle(-1j * x) - np.pi / 2


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
