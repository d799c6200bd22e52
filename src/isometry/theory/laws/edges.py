# pyright: reportConstantRedefinition=false
"""Edges of the support: where log z, real on both sides of an interval, turns around."""

import dataclasses
import math

import numpy as np

from isometry.errors import ConvergenceError
from isometry.theory.laws.free_product import Product
from isometry.theory.laws.piecewise import Vector

_PLACE = 1e-15  # what a further step would add to log z at an edge
_LOST = 1e-14  # step in u, relative, that rounding swallows
_ASTRAY = 0.25  # of a step in log z, off its two slopes: .06 next to a pole, .13 next to an atom
_POLE, _BESIDE = 1e6, 2.5e5  # u that only an atom brings, and that of a start next to one


@dataclasses.dataclass(frozen=True)
class Gap:
    """A point between two intervals: ``u = z G(z)``, real, and the factors' E."""

    u: float
    E: Vector


@dataclasses.dataclass(frozen=True)
class Edge:
    """Log lam at an edge, and the power of the distance's root by which the density vanishes."""

    place: float
    order: int = 1


def edge(product: Product, gap: Gap, towards: int) -> Edge:
    """Return where the continuous part goes on, below or above a gap.

    An atom, where u is infinite, lies between two gaps: the search goes on behind it. At one that
    just forms the continuous part goes on at its place, and its density diverges.

    Raises:
        ConvergenceError: If no edge is found.
    """
    places, weights = product.atoms()
    found = -math.inf
    for _ in range(1 + len(places)):
        found, at_atom = _turning_point(product, gap.u, gap.E, towards)
        if not at_atom:
            return Edge(found)
        if not len(places):
            break
        nearest = int(np.argmin(np.abs(np.log(places) - found)))
        if not weights[nearest]:
            return Edge(math.log(places[nearest]), -1)
        gap = beside(product, nearest, towards)
    raise ConvergenceError(
        f"The support next to the atom at log lam = {found:.6g} was not found. {product.remedy}"
    )


def beside(product: Product, index: int, towards: int) -> Gap:
    """Return a point of the gap below or above an atom."""
    u = towards * _BESIDE
    return Gap(u, _settled(product, u, product.at_atom(index, u))[2])


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
        # Another branch may lie where E was predicted; there log z is not what its slope makes it.
        steepest = max(abs(slope), abs(new_slope))
        astray = abs(ahead - total - step * (slope + new_slope) / 2)
        near = converged and (smooth or beyond) and astray <= _ASTRAY * abs(step) * steepest + 1e-9
        if near and new_slope * sign > 0:
            u, E, total, turn, slope = u + step, new, ahead, new_turn, new_slope
            step *= 1.0 if beyond else 2.0
        else:  # too far for the prediction, or past the edge
            beyond = beyond or near
            step /= 2
    raise ConvergenceError(
        f"An edge of the support next to log lam = {total:.6g} was not found. {product.remedy}"
    )


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
