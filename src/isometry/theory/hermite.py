r"""What a shifted, scaled activation is in Hermite polynomials: psi(u) = phi(beta u + delta) - m.

    psi = sum_{k>=1} a_k He_k / sqrt(k!),   m = E phi(beta u + delta),   u ~ N(0, 1)            (61)

Integrated on panels that are split at the breakpoints of phi and graded from its feature scale to
the width of the Gaussian, so a few hundred values of phi give the first orders to rounding.
"""

import math
from typing import NamedTuple

import numpy as np

from isometry._typing import Float
from isometry.theory import quadrature
from isometry.theory.activations.definition import Activation
from isometry.theory.gaussian import panel_points

HIGHEST = 256
"""Order up to which He_k stays within the panels: its zeros reach 2 sqrt(k) = 32."""

_WIDE = np.arange(-38.0, 39.0)  # fine enough for HIGHEST: 16 radians a panel of 20 nodes
_LOW = 40  # orders that panels of 2 resolve


class Expansion(NamedTuple):
    """Averages of psi and its Hermite coefficients, k = 1, 2, ... ."""

    mean: float
    energy: float
    slope_square: float
    fourth_moment: float
    coefficients: Float[np.ndarray, "order"]

    @property
    def shares(self) -> Float[np.ndarray, "order"]:
        """The parts a_k^2 / V of the energy."""
        return self.coefficients**2 / self.energy


def expand(
    act: Activation, scale: float, shift: float, order: int, *, halvings: int = 0
) -> Expansion:
    """Return the Hermite coefficients of ``phi(scale u + shift)`` up to ``order``.

    Args:
        act: The activation.
        scale: beta > 0.
        shift: delta.
        order: Highest order, from 1 to ``HIGHEST``.
        halvings: How often every panel is halved, for an estimate of the error.

    Returns:
        The averages and coefficients; all are NaN or infinite where phi overflows.

    Notes:
        Error measured against closed forms and twice as many panels: 1e-13 of the energy's root.
    """
    u, weights = shifted_rule(act, scale, shift, order, halvings=halvings)
    h = scale * u + shift
    with np.errstate(all="ignore"):  # an overflow is the caller's to refuse
        phi, dphi = act.phi(h), scale * act.dphi(h)
        mean = float(weights @ phi)
        psi = phi - mean
        energy = float(weights @ (psi * psi))
        unit = psi / math.sqrt(energy) if energy > 0 else np.nan * psi
        fourth = float(weights @ unit**4)
        coefficients = np.empty(order)
        before, now = np.ones_like(u), u
        for k in range(1, order + 1):
            coefficients[k - 1] = (weights * psi) @ now
            before, now = now, (u * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    return Expansion(mean, energy, float(weights @ (dphi * dphi)), fourth, coefficients)


def shifted_points(act: Activation, scale: float, shift: float) -> Float[np.ndarray, "n"]:
    """Return the breakpoints and panel edges of ``phi(scale u + shift)``, as values of u."""
    return (panel_points(act) - shift) / scale


def shifted_rule(
    act: Activation, scale: float, shift: float, order: int = 1, *, halvings: int = 0
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Return nodes u and Gaussian weights that suit ``phi(scale u + shift)`` and He_order."""
    grid = quadrature.NEAR if order <= _LOW else _WIDE
    ends = quadrature.edges(shifted_points(act, scale, shift), grid)
    for _ in range(halvings):
        ends = np.union1d(ends, (ends[1:] + ends[:-1]) / 2)
    return quadrature.rule(ends)
