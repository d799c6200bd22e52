"""Inverse problems: which sigma_w gives this c?

c is propagated through the network, so ``c(sigma_w) = target`` is solved numerically; the condition
number ``lam_+(c) = (1 + c + r) e^r``, r = sqrt(c^2 + 2 c), is inverted through r: (10) of
docs/theory.md.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from isometry._checks import check_real, shown
from isometry._typing import Integer, Real
from isometry.theory.activations.lookup import ActivationLike, activation
from isometry.theory.gaussian import gaussian_moments
from isometry.theory.propagation import (
    ResNetSpec,
    check_moments,
    effective_cumulant,
)
from isometry.theory.roots import bracketed_root
from isometry.theory.working_point import WorkingPoint

_STEP = 2.0  # of the scan in sigma_w
_SMALLEST_C = 1e-300
_LARGEST = 1e12  # sigma_w at which the scan gives up
_PROBES = np.geomspace(1e-6, 4.0, 200)


def solve_sigma_w(
    activation: ActivationLike | WorkingPoint,
    *,
    depth: Integer,
    c: Real = 1.0,
    sigma_b: Real = 0.0,
    skip: Real = 1.0,
    m1: Real = 0.0,
    m2: Real = 1.0,
    centre: bool = False,
    signs: bool = False,
    unit: bool = False,
) -> float:
    """Return the smallest sigma_w whose effective cumulant is ``c``.

    Args:
        activation: Name, callable, module or working point.
        depth: Number of layers L, at least 1.
        c: Wanted effective cumulant, at least 0; it is not divided by ``skip**2``.
        sigma_b: Standard deviation of the biases.
        skip: Weight a of the skip connection.
        m1: Mean of the entries of the input.
        m2: Mean square of the entries of the input, at least ``m1**2``.
        centre: As for :class:`ResNetSpec`.
        signs: As for :class:`ResNetSpec`.
        unit: As for :class:`ResNetSpec`.

    Returns:
        A standard deviation in the 1/L convention: ``Var W = sigma_w^2 / (N L)``.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If an argument is out of range, or if no sigma_w gives ``c``: the message
            states the range that can be reached.

    Notes:
        Relative error in c: 1e-10. c was increasing in sigma_w wherever it was looked at; if
        it were not, "smallest" is up to a scan by factors of 2 from where
        ``sigma_w^2 sup phi'^2`` is below c. About ten propagations.

    Examples:
        >>> round(solve_sigma_w("relu", depth=100, c=1.0), 12)
        1.414213562373
    """
    spec = ResNetSpec(
        activation, depth=depth, sigma_w=0.0, sigma_b=sigma_b, skip=skip,
        centre=centre, signs=signs, unit=unit,
    )  # fmt: skip
    target = check_real("c", c, minimum=0.0)
    check_moments(m1, m2)
    if target == 0.0:
        return 0.0
    if target < _SMALLEST_C:
        raise ValueError(
            f"`c` is {target:g}; expected 0 or a number >= {_SMALLEST_C:g}, as sigma_w^2 of a "
            "smaller one leaves float64's range."
        )

    def cumulant(sigma_w: float) -> float:
        try:
            return effective_cumulant(replace(spec, sigma_w=sigma_w), m1=m1, m2=m2)
        except OverflowError:
            return math.inf

    low, high = _bracket(cumulant, target, spec)
    if cumulant(high) == target:
        return high
    root = bracketed_root(
        lambda t: math.log(max(cumulant(math.exp(t)), _SMALLEST_C**1.07) / target),
        math.log(low),
        math.log(high),
        xtol=1e-12,
    )
    return math.exp(root)


def cumulant_from_condition_number(kappa: Real) -> float:
    """Return the c at which the universal law has condition number ``kappa``.

    With ``r = sqrt(c^2 + 2 c)``, ``log kappa = r + asinh(r)`` and ``c = sqrt(1 + r^2) - 1``.

    Args:
        kappa: Ratio s_max / s_min of the Jacobian's bulk in the wide limit, at least 1.

    Returns:
        The effective cumulant at unit skip; with a skip a, multiply it by ``a**2``.

    Raises:
        TypeError: If ``kappa`` is not a real number.
        ValueError: If it is below 1 or not finite.

    Notes:
        Relative error against 40-digit arithmetic from 1 + 2e-16 to 1e308: 1e-15.

    References:
        Derived here from the law of [tarnowski2019] arXiv:1809.08848.

    Examples:
        >>> round(cumulant_from_condition_number(21.094423247747), 12)
        1.0
    """
    log_kappa = math.log(check_real("kappa", kappa, minimum=1.0))
    r = log_kappa / 2  # below the root of a concave function: Newton increases to the root
    for _ in range(20):
        r += (log_kappa - r - math.asinh(r)) / (1 + 1 / math.sqrt(1 + r * r))
    return r * r / (1 + math.sqrt(1 + r * r))


def gain(activation: ActivationLike, *, q: Real = 1.0) -> float:
    """Return ``1 / sqrt(E phi(h)^2)`` for h ~ N(0, q), torch's meaning of a gain.

    Args:
        activation: Name, callable or module.
        q: Variance (not standard deviation) of the pre-activations, at least 0.

    Returns:
        The factor that brings the mean square of ``phi(h)`` to 1.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If the activation is unknown, ``q`` is out of range or phi(h) vanishes.

    Examples:
        >>> round(gain("relu"), 12)
        1.414213562373
    """
    variance = check_real("q", q, minimum=0.0, advice="Pass a variance.")
    square = float(gaussian_moments(_resolve(activation), variance).square)
    if not square > 0:
        raise ValueError(
            f"`activation` is {shown(activation)}, E phi(h)^2 = {square:g} at q = {variance:g}; "
            "expected "
            "a positive mean square. Raise q or choose another activation."
        )
    return 1.0 / math.sqrt(square)


def _bracket(
    cumulant: Callable[[float], float], target: float, spec: ResNetSpec
) -> tuple[float, float]:
    low = _below(target, spec)
    while cumulant(low) >= target and low > 1e-300:
        low /= 4
    best = (0.0, 0.0)
    while low < _LARGEST:
        high = low * _STEP
        reached = cumulant(high)
        if math.isinf(reached):
            return _before_overflow(cumulant, target, low, high)
        if reached >= target:
            return low, high
        best = max(best, (reached, high))
        low = high
    raise ValueError(_out_of_reach(target, *best, f"no sigma_w up to {_LARGEST:g} gives more"))


def _below(target: float, spec: ResNetSpec) -> float:
    # c <= sigma_w^2 sup phi'^2: looked at within 4 (1 + sigma_b) and on every piece of phi.
    act = _resolve(spec.activation)
    kinks, reach = np.array(act.breakpoints), (1 + spec.sigma_b) * _PROBES
    h = np.concatenate([(kinks[1:] + kinks[:-1]) / 2, -reach, reach])
    with np.errstate(over="ignore", invalid="ignore"):
        slopes = act.dphi(h) ** 2
    slope = float(np.max(slopes[np.isfinite(slopes)], initial=0.0))
    if slope == 0:
        raise ValueError(_out_of_reach(target, 0.0, 1.0, "the slope is 0 almost everywhere"))
    return 0.95 * math.sqrt(target / slope)


def _before_overflow(
    cumulant: Callable[[float], float], target: float, low: float, high: float
) -> tuple[float, float]:
    for _ in range(40):
        middle = math.sqrt(low * high)
        reached = cumulant(middle)
        if math.isinf(reached):
            high = middle
        elif reached >= target:
            return low, middle
        else:
            low = middle
    raise ValueError(_out_of_reach(target, cumulant(low), low, "beyond it the signal overflows"))


def _out_of_reach(target: float, most: float, sigma_w: float, reason: str) -> str:
    return (
        f"`c` is {target:g}; expected a value in [0, {most:.6g}], the range that can be reached: "
        f"sigma_w = {sigma_w:.6g} gives the most, {reason}. Lower c or change the activation, "
        "the biases or the depth."
    )


_resolve = activation  # the public functions have an argument of that name
