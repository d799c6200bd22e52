"""Inverse problems and the laws of a specification: which sigma_w gives this c?

c is propagated through the network, so ``c(sigma_w) = target`` is solved numerically; the condition
number ``lam_+(c) = (1 + c + r) e^r``, r = sqrt(c^2 + 2 c), is inverted through r. This is also
where a specification meets the laws, which know nothing of networks.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from isometry._checks import check_real
from isometry._typing import Float, Int, Real
from isometry.theory.activations.lookup import Activation, activation
from isometry.theory.gaussian import gaussian_moments, gaussian_nodes
from isometry.theory.laws import FiniteDepthLaw, UniversalLaw
from isometry.theory.propagation import (
    ResNetSpec,
    Signal,
    check_moments,
    effective_cumulant,
    propagate,
)
from isometry.theory.roots import bracketed_root

_STEP = 2.0  # of the scan in sigma_w
_LARGEST = 1e12  # sigma_w at which the scan gives up
_PROBES = np.geomspace(1e-6, 4.0, 200)
_GROUPS = 32  # distinct layers that a finite-depth law is given

Rule: TypeAlias = tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]


def solve_sigma_w(
    activation: Any,
    *,
    depth: int | Any,
    c: Real = 1.0,
    sigma_b: Real = 0.0,
    skip: Real = 1.0,
    m1: Real = 0.0,
    m2: Real = 1.0,
) -> float:
    """Return the smallest sigma_w whose effective cumulant is ``c``.

    Args:
        activation: Name, callable or module.
        depth: Number of layers L, at least 1.
        c: Wanted effective cumulant, at least 0; it is not divided by ``skip**2``.
        sigma_b: Standard deviation of the biases.
        skip: Weight a of the skip connection.
        m1: Mean of the entries of the input.
        m2: Mean square of the entries of the input, at least ``m1**2``.

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
    spec = ResNetSpec(activation, depth=depth, sigma_w=0.0, sigma_b=sigma_b, skip=skip)
    target = check_real("c", c, minimum=0.0)
    check_moments(m1, m2)
    if target == 0.0:
        return 0.0

    def cumulant(sigma_w: float) -> float:
        try:
            return effective_cumulant(replace(spec, sigma_w=sigma_w), m1, m2)
        except OverflowError:
            return math.inf

    low, high = _bracket(cumulant, target, spec)
    if cumulant(high) == target:
        return high
    root = bracketed_root(
        lambda t: math.log(cumulant(math.exp(t)) / target),
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


def gain(activation: Any, *, q: Real = 1.0) -> float:
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
            f"`activation` is {activation!r} with E phi(h)^2 = {square:g} at q = {variance:g}; "
            "expected a positive mean square. Raise q or choose another activation."
        )
    return 1.0 / math.sqrt(square)


def jacobian_law(spec: ResNetSpec, m1: Real = 0.0, m2: Real = 1.0) -> UniversalLaw:
    """Return the law of the squared singular values of the network's Jacobian.

    With a skip a it is the universal law at ``c / a^2``, scaled by ``a^(2 L)``.

    Args:
        spec: The network.
        m1: Mean of the entries of the input.
        m2: Mean square of the entries of the input, at least ``m1**2``.

    Returns:
        The law of the bulk in the limit of large width and depth.

    Raises:
        TypeError: If ``m1`` or ``m2`` is not a real number.
        ValueError: If ``m2 < m1**2`` or a moment is not finite.
        NotImplementedError: If the skip is 0, since the network is then not residual.
        OverflowError: If the signal or ``a^(2 L)`` leaves the range of float64.

    Notes:
        Distance to the law at finite depth: of order 1/L, see :func:`finite_depth_law`.

    References:
        [tarnowski2019] arXiv:1809.08848; the skip: derived here.

    Examples:
        >>> jacobian_law(ResNetSpec("relu", depth=100)).c
        0.5
    """
    if spec.skip == 0:
        raise NotImplementedError(
            "`spec` has skip = 0; expected a residual network: the universal law describes "
            "small steps from the identity. Use finite_depth_law, or a skip."
        )
    c = effective_cumulant(spec, m1, m2) / spec.skip**2
    log_scale = 2 * spec.depth * math.log(abs(spec.skip))
    if not (abs(log_scale) < 700 and math.isfinite(c)):
        raise OverflowError(
            f"the law's scale skip^(2 depth) = exp({log_scale:.6g}) is outside float64; expected "
            f"an exponent within 700. Bring skip = {spec.skip:g} closer to 1 or reduce the depth."
        )
    return UniversalLaw(c=c, scale=math.exp(log_scale))


def finite_depth_law(spec: ResNetSpec, m1: Real = 0.0, m2: Real = 1.0) -> FiniteDepthLaw:
    """Return the law of the squared singular values at this depth, in the wide limit.

    Each layer enters through the distribution of ``phi'(h)^2`` over h ~ N(0, q_l): exactly
    where it takes few values, otherwise by a Gauss rule that matches its first moments. Beyond
    32 layers those with about the same chi share the mixture of theirs, which keeps c exactly.

    Args:
        spec: The network; the skip may be 0.
        m1: Mean of the entries of the input.
        m2: Mean square of the entries of the input, at least ``m1**2``.

    Returns:
        The law of the bulk in the limit of large width.

    Raises:
        TypeError: If ``m1`` or ``m2`` is not a real number.
        ValueError: If ``m2 < m1**2`` or a moment is not finite.
        OverflowError: If the signal leaves the range of float64.

    Notes:
        Error of the quantiles in log lam from the Gauss rules: 2e-11; from sharing: 1e-14
        (ReLU, depth 100), 2e-9 (ELU, 100), 5e-5 (sigmoid, 60, whose chi varies sixfold).
        Cost: up to 2 s for the first question to the law, whatever the depth.

    References:
        Derived here.
    """
    act = _resolve(spec.activation)
    signal = propagate(spec, m1, m2)
    size = max(8, 32 // spec.depth)
    rules: list[Rule] = [(np.empty(0), np.empty(0))] * spec.depth
    for group in _similar_layers(signal):
        mixture = _mix([_slope_rule(act, float(signal.q[layer]), size) for layer in group], size)
        for layer in group:
            rules[layer] = mixture
    most = max(len(d) for d, _ in rules)
    rows = [_pad(*rule, most) for rule in rules]
    d = spec.sigma_w**2 / spec.depth * np.array([row[0] for row in rows])
    return FiniteDepthLaw(d=d, weights=np.array([row[1] for row in rows]), skip=spec.skip)


_resolve = activation  # the public functions have an argument of that name


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


def _similar_layers(signal: Signal) -> list[Int[np.ndarray, "k"]]:
    """Return groups of layers: cuts of the layers sorted by q into equal variations of chi."""
    order = np.argsort(signal.q, kind="stable")
    if len(order) <= _GROUPS:
        return list(order[:, None])
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(signal.chi[order])))])
    label = np.floor(way / max(way[-1], 1e-300) * _GROUPS * (1 - 1e-12))
    return np.split(order, np.flatnonzero(np.diff(label)) + 1)


def _slope_rule(act: Activation, q: float, size: int) -> Rule:
    """Return atoms and weights that stand for the distribution of phi'(h)^2, h ~ N(0, q)."""
    h, weights = gaussian_nodes(q, act.breakpoints)
    return _gauss_rule(act.dphi(h) ** 2, weights, size)


def _mix(rules: list[Rule], size: int) -> Rule:
    """Return the equal mixture of the rules."""
    d = np.concatenate([rule[0] for rule in rules])
    weights = np.concatenate([rule[1] for rule in rules]) / len(rules)
    return _gauss_rule(d, weights, size)


def _gauss_rule(d: Float[np.ndarray, "m"], weights: Float[np.ndarray, "m"], size: int) -> Rule:
    """Return the Gauss rule of a discrete measure, by Lanczos with reorthogonalisation."""
    d, where = np.unique(d, return_inverse=True)
    weights = np.bincount(where, weights)
    if len(d) <= size:
        return d, weights.round(15)  # so that equal layers are equal to the last digit
    basis = [np.sqrt(weights / weights.sum())]
    diagonal, off = [], []
    for _ in range(size):
        known = np.array(basis)
        u = d * basis[-1]
        diagonal.append(float(u @ basis[-1]))
        u = u - known.T @ (known @ u)
        u = u - known.T @ (known @ u)
        norm = float(np.linalg.norm(u))
        if norm <= 1e-13 * d[-1]:
            break
        off.append(norm)
        basis.append(u / norm)
    beside = np.diag(off[: len(diagonal) - 1], 1)
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + beside + beside.T)
    return np.clip(nodes, d[0], d[-1]), vectors[0] ** 2


def _pad(d: Float[np.ndarray, "m"], weights: Float[np.ndarray, "m"], size: int) -> Rule:
    """Split the last atom into equal ones until there are ``size``."""
    parts = size - len(d) + 1
    split = np.full(parts, weights[-1] / parts)
    return np.concatenate([d[:-1], np.full(parts, d[-1])]), np.concatenate([weights[:-1], split])
