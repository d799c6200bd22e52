r"""Where on an activation should a network work? The scale and shift that give it wanted shares.

A layer psi(u) = phi(beta u + delta) - m of unit pre-activations u enters a network's kernels
through kappa(rho) / kappa'(1) alone: two activations with equal shares learn alike at equal c.
Two numbers, beta and delta, make the linear and the quadratic share what they are to be; of several
such points the one is taken whose shares of the orders 1 to 8 are nearest in all.
"""

from dataclasses import dataclass, field

import numpy as np

from isometry._checks import check_array, check_real, shown
from isometry._result import Result
from isometry._typing import Real, Reals
from isometry.theory.activations.definition import Activation, ActivationLike
from isometry.theory.activations.lookup import activation
from isometry.theory.dual import DualActivation, dual_activation
from isometry.theory.gaussian import panel_points
from isometry.theory.hermite import expand
from isometry.theory.point_search import Candidate, Target, search

__all__ = ["ORDERS", "WorkingPoint", "working_point"]

ORDERS = 8
"""Shares that decide between several points."""


@dataclass(frozen=True, eq=False)
class WorkingPoint(Result):
    """The activation psi(u) = phi(scale u + shift) - mean, for pre-activations u ~ N(0, 1).

    Attributes:
        activation: phi.
        scale: beta, above 0.
        shift: delta.
        mean: E phi(scale u + shift), which psi is freed of.
        energy: E psi^2.
        slope_square: E psi'^2, with respect to u: c of a layer of gain g is g^2 times it.
        linear: Hermite share of order 1.
        quadratic: Hermite share of order 2.
        fourth_moment: E psi^4 / (E psi^2)^2; 3 is a Gaussian's, ReLU's is 5.4.
        miss: Larger distance of the two shares to those that were asked for: 0 to rounding where
            they are reached, otherwise the tolerance within which they are.
        distance: Euclidean distance of the shares of orders 1 to 8; None if only two were asked.
    """

    activation: Activation
    scale: float
    shift: float
    mean: float
    energy: float
    slope_square: float
    linear: float
    quadratic: float
    fourth_moment: float
    miss: float = 0.0
    distance: float | None = field(default=None)

    @staticmethod
    def at(act: ActivationLike, scale: Real = 1.0, shift: Real = 0.0) -> "WorkingPoint":
        """Return the point of a scale and a shift chosen by hand.

        Args:
            act: Activation, or anything :func:`~isometry.activation` accepts.
            scale: beta, above 0.
            shift: delta.

        Returns:
            The point; its ``miss`` is 0, as no shares were asked for.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If ``scale`` is not above 0, or phi constant or not finite there.
        """
        act = activation(act)
        beta, delta = check_real("scale", scale, above=0.0), check_real("shift", shift)
        dual_activation(act, beta * beta, delta)  # refuses what has no point there
        return _measured(act, Candidate(beta, delta, 0.0, 0.0), None)

    def __call__(self, u: Reals) -> np.ndarray:
        """Return ``psi(u)`` for an array, list or number ``u``.

        Raises:
            TypeError: If ``u`` is not numeric.
            ValueError: If ``u`` or ``psi(u)`` is not finite.
        """
        return self.activation(self.scale * check_array("u", u) + self.shift) - self.mean

    def psi(self) -> Activation:
        """Return psi as an activation, with its kinks."""
        return _psi(self)

    def dual(self) -> DualActivation:
        """Return psi's dual: its kappa, kappa' and shares."""
        return dual_activation(self.activation, self.scale**2, self.shift)


def _psi(point: WorkingPoint) -> Activation:
    phi, scale, shift, mean = point.activation, point.scale, point.shift, point.mean

    def moved(places: tuple[float, ...]) -> tuple[float, ...]:
        return tuple((place - shift) / scale for place in places)

    error = phi.slope_error
    return Activation(
        f"{phi.name} at {scale:.4g}, {shift:.4g}",
        lambda u: phi.phi(scale * u + shift) - mean,
        lambda u: scale * phi.dphi(scale * u + shift),
        moved(phi.breakpoints),
        moved(phi.jumps),
        phi.odd and shift == 0.0 == mean,
        panels=moved(tuple(panel_points(phi).tolist())),
        slope_error=None if error is None else lambda u: scale * error(scale * u + shift),
        source=point,
        recipe=(_psi, (point,)),
    )


def working_point(
    act: ActivationLike,
    like: ActivationLike | None = None,
    *,
    shares: Reals | None = None,
    tolerance: Real = 0.02,
) -> WorkingPoint:
    """Return the scale and shift that give an activation another one's shares.

    Args:
        act: Activation, or anything :func:`~isometry.activation` accepts.
        like: The activation, as it is, whose linear and quadratic share are wanted; ReLU without
            ``shares``.
        shares: The wanted linear and quadratic share, in place of ``like``.
        tolerance: Distance of a share that is still taken where it is not reached.

    Returns:
        The point that reaches the shares and is nearest in those of orders 1 to 8 (with ``shares``:
        that of smallest fourth moment), of those with the quadratic coefficient's sign, then of
        smallest scale. Where a point that
        misses them by less than 0.005 is nearer in all orders than any that reaches them, that
        one; its ``miss`` says by how much, as it does where nothing reaches them.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If the activation is unknown, a number is out of range, or no scale and shift
            bring the shares within ``tolerance``; the message states the range of each.
        NotImplementedError: If ``act`` is not elementwise.

    Notes:
        Looked for at scales from 0.02 to 1,000 (in units of phi's argument). An activation of one
        kink, as leaky ReLU, has no scale of its own: its scale is 1. Against ReLU's shares the
        points agree with another program's (Nelder-Mead on 40,001 points) to 2 %. Mirror images
        (tanh at a shift of +-1.35) have one kernel, and yet differ in speed: 107 and 122 steps to
        a loss where ReLU has 109. Cost: half a second for a named activation.

    References:
        Derived here, see docs/theory.md; shifting and scaling activations to shape kernels is the
        idea of [martens2021] and [zhang2022], who do not hold c, the mean or the step.

    Examples:
        >>> point = working_point("tanh", like="relu")
        >>> round(point.scale, 2), round(point.shift, 2), round(point.linear, 4)
        (0.96, -1.35, 0.7335)
    """
    act = activation(act)
    tolerance = check_real("tolerance", tolerance, minimum=0.0)
    target = _target(like, shares)
    found = search(act, target, tolerance)
    if found.point is None:
        raise ValueError(_out_of_reach(act, target, tolerance, found.ranges))
    return _measured(act, found.point, target)


def _target(like: ActivationLike | None, shares: Reals | None) -> Target:
    """Return the wanted shares.

    Raises:
        TypeError: If they are no two numbers.
        ValueError: If both arguments are given, or no function has such shares.
    """
    if shares is None:
        dual = dual_activation("relu" if like is None else like)
        return Target(dual.shares(ORDERS), -1.0 if dual.expansion.coefficients[1] < 0 else 1.0)
    if like is not None:
        raise ValueError(f"`shares` is {shown(shares)} and `like` is {shown(like)}; expected one.")
    wanted = check_array("shares", shares, minimum=0.0)
    if wanted.shape != (2,) or not wanted.sum() <= 1.0:
        raise ValueError(
            f"`shares` is {shown(shares)}; expected (linear, quadratic), two parts of one energy "
            "whose sum is at most 1."
        )
    return Target(wanted)


def _measured(act: Activation, point: Candidate, target: Target | None) -> WorkingPoint:
    found = expand(act, point.scale, point.shift, ORDERS)
    linear, quadratic = map(float, found.shares[:2])
    wanted = found.shares if target is None else target.shares
    gaps = np.abs(found.shares[: wanted.size] - wanted)
    return WorkingPoint(
        act,
        point.scale,
        point.shift,
        found.mean,
        found.energy,
        found.slope_square,
        linear,
        quadratic,
        found.fourth_moment,
        float(gaps[:2].max()),
        float(np.linalg.norm(gaps)) if target is not None and target.complete else None,
    )


def _out_of_reach(
    act: Activation, target: Target, tolerance: float, ranges: tuple[tuple[float, float], ...]
) -> str:
    (low, high), (least, most) = ranges
    return (
        f"`act` is {act.name!r}, whose linear share stays within [{low:.4f}, {high:.4f}] and its "
        f"quadratic share within [{least:.4f}, {most:.4f}] at every scale and shift, never both "
        f"near; expected {target.shares[0]:.4f} and {target.shares[1]:.4f} within {tolerance:g}. "
        "Choose other shares or another activation."
    )
