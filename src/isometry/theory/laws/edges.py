# pyright: reportConstantRedefinition=false
"""Edges of the support: where log z, real on both sides of an interval, turns around."""

import dataclasses
import math

import numpy as np

from isometry.errors import ConvergenceError
from isometry.theory.laws.free_product import Product, continued
from isometry.theory.laws.piecewise import Vector

_PLACE = 1e-15  # what a further step would add to log z at an edge
_LOST = 1e-14  # step in u, relative, that rounding swallows
_POLE, _BEHIND = 1e6, 1e-4  # u that only an atom brings, and how far behind it the search goes on


@dataclasses.dataclass(frozen=True)
class Gap:
    """A point between two intervals: ``u = z G(z)``, real, and the factors' E."""

    u: float
    E: Vector


def edge(product: Product, gap: Gap, towards: int) -> float:
    """Return log lam where the continuous part goes on, below or above a gap.

    An atom, where u is infinite, lies between two gaps: the search goes on behind it.

    Raises:
        ConvergenceError: If no edge is found.
    """
    found = -math.inf
    for _ in range(1 + len(product.atoms()[0])):
        found, at_atom = _turning_point(product, gap.u, gap.E, towards)
        if not at_atom:
            return found
        t = np.array([found + _BEHIND * towards])
        u, E = continued(product, product.floor, t, np.zeros(1))
        gap = Gap(float(u[0].real), E[0].real)
    raise ConvergenceError(f"The support next to the atom at log lam = {found:.6g} was not found.")


@np.errstate(all="ignore")  # a trial step may be wild; what it gives is checked
def _turning_point(product: Product, u: float, E: Vector, towards: int) -> tuple[float, bool]:
    """Follow the real solution from a gap to where log z turns around, or to an atom; say which.

    On the way u may pass 0, where all E but one pass 0, and 1, where they pass infinity.

    Raises:
        ConvergenceError: If log z does not turn around.
    """
    total, slope, E, turn, _ = _settled(product, u, E)
    sign = math.copysign(1.0, slope)
    step = 1e-3 * towards * sign * min(abs(u), abs(u - 1))
    beyond = False  # whether a step went past the edge, where the slope has the other sign
    for _ in range(1000):
        if abs(u) > _POLE:
            return total, True
        if beyond and abs(slope * step) < _PLACE:
            return total, False
        if abs(step) < _LOST * min(abs(u), abs(u - 1)):
            break
        guess = _moved(product, u, E, -turn * step)
        ahead, new_slope, new, new_turn, converged = _settled(product, u + step, guess)
        missed, gone = np.abs(1 / new - 1 / guess), np.abs(1 / new - 1 / E)
        smooth = bool((missed <= 0.2 * gone + 1e-10 * np.abs(1 / new)).all())
        near = converged and (smooth or beyond)
        if near and new_slope * sign > 0:
            u, E, total, turn, slope = u + step, new, ahead, new_turn, new_slope
            step *= 1.0 if beyond else 2.0
        else:  # too far for the prediction, or past the edge
            beyond = beyond or near
            step /= 2
    raise ConvergenceError(f"An edge of the support next to log lam = {total:.6g} was not found.")


def _moved(product: Product, u: float, E: Vector, by: Vector) -> Vector:
    """Return ``E + by`` to first order, beyond the atoms through 1/E, which may pass 0."""
    outside = np.abs(E) > product.beyond(u)
    return np.where(outside, 1 / (1 / E - by / E**2), E + by)


def _settled(product: Product, u: float, E: Vector) -> tuple[float, float, Vector, Vector, bool]:
    """Return log z, its slope, the factors' E at u, -dE/du and whether they converged."""
    x = np.array([u])
    for _ in range(12):
        gap = product.linearise(x, E[None])[2][0]
        E = _moved(product, u, E, -gap)
        if (np.abs(gap) <= 1e-12 * np.abs(E)).all():
            break
    total, slope, gap, turn = product.linearise(x, E[None])
    # Next to the mass at 0 rounding leaves E four digits; at an edge, far from there, it has all.
    converged = bool((np.abs(gap[0]) <= 1e-4 * np.abs(E)).all())
    return float(total[0]), float(slope[0]), E, turn[0], converged
