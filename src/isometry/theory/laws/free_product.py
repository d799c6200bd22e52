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
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from isometry._typing import Float
from isometry.errors import ConvergenceError
from isometry.theory.laws.arguments import ComplexArray
from isometry.theory.laws.piecewise import Vector

Numeric = NDArray[Any]
TOLERANCE = 1e-11
"""Last Newton step, relative: the next one, quadratically smaller, is below rounding."""

_SECTIONS, _ROUNDS = 16, 9  # of 2,000 in logit u, to 3e-8: a start for Newton

_ROUNDING = 1e-15
"""Of log z: a few units in the last place. Next to a divergence it moves u and E by much more."""

FORMING = 1e-7
"""Mass below which an atom is taken to just form, as half of one layer's units dead makes it: the
density next to it then differs within 1e-14 of its place only, and the law by that mass."""


def formed(mass: float) -> float:
    """Return the mass of an atom, 0 where it just forms."""
    return mass if mass > FORMING else 0.0


@runtime_checkable
class Product(Protocol):
    """What the continuation asks of a product of free factors."""

    remedy: ClassVar[str]
    """What to change where the law is not solved, in the words of those who made the product."""

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
        """Return places and weights of the atoms off 0, those of weight 0 too that just form."""
        ...

    def at_atom(self, index: int, u: float) -> Vector:
        """Return E next to an atom, where u is large, to first order in 1 / u."""
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


def _beyond(step: Numeric, rounding: Numeric) -> Numeric:
    """Return the modulus of steps without what rounding explains."""
    return np.maximum(np.abs(step) - rounding, 0.0)


@np.errstate(all="ignore")
def newton(
    product: Product, target: Numeric, u: Numeric, E: Numeric, *, steps: int
) -> tuple[Numeric, ...]:
    """Return ``(u, E, size)`` after Newton steps towards ``F = target``; size of the last.

    What rounding of F alone would move is no part of the size.
    """
    size = np.full(u.shape, np.inf)
    for _ in range(steps):
        total, slope, gap, turn = product.linearise(u, E)
        du = (target - total) / slope
        dE = -gap - turn * du[:, None]
        u, E = u + du, E + dE
        rounding = _ROUNDING / np.abs(slope)
        du, dE = _beyond(du, rounding), _beyond(dE, rounding[:, None] * np.abs(turn))
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
            raise ConvergenceError(f"The range of log lam is too wide. {product.remedy}")
        logit = logit * 2
    guess = np.interp(t, known, logit)
    u = floor + (1 - floor) / (1 + np.exp(-guess))
    return u, product.solve_real(u)


@np.errstate(all="ignore")
def searched(product: Product, floor: float, t: Vector) -> tuple[Vector, Numeric]:
    """Return u and E at ``z = -exp(t)`` by sections, for what interpolation does not reach.

    Slopes far apart make u all but constant over the decades of lam between them.
    """
    low, width = np.full(t.size, -1000.0), 2000.0
    for _ in range(_ROUNDS):  # many places at once: the bisections for E cost a call each
        width /= _SECTIONS
        logit = low[:, None] + width * np.arange(1, _SECTIONS)
        u = (floor + (1 - floor) / (1 + np.exp(-logit))).reshape(-1)
        E = product.solve_real(u)
        reached, _, gap, _ = product.linearise(u, E)
        lost = ~(np.abs(gap) < 1e-6 * np.abs(E)).all(axis=1)  # so close to 0 or 1 is no t asked for
        reached = np.where(lost, np.copysign(np.inf, logit.reshape(-1)), reached)
        low = low + width * (reached.reshape(logit.shape) < t[:, None]).sum(axis=1)
    u = floor + (1 - floor) / (1 + np.exp(-low - width / 2))
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
    far = ~((size < 1e-8) & (E < 0).all(axis=1) & (u > floor) & (u < 1))  # or on the other axis
    if far.any():
        u[far], E[far], size[far] = newton(
            product, t[far], *searched(product, floor, t[far]), steps=50
        )
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
                f"the support may have several intervals. {product.remedy}"
            )
        done = active[good]
        u[done], E[done], gone[done] = new_u[good], new_E[good], gone[done] + share[good]
        step[active] *= np.where(good, 2.0, 0.5)
        active = np.flatnonzero(gone < 1.0)
    return u, E
