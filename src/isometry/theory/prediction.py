"""From the description of a network to what its Jacobian's spectrum will be."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from isometry._typing import Checked, Float, Int, Real
from isometry.theory.activations.lookup import Activation, activation
from isometry.theory.gaussian import gaussian_nodes
from isometry.theory.laws import FiniteDepthLaw, UniversalLaw
from isometry.theory.outliers import wide_outliers
from isometry.theory.propagation import (
    ResNetSpec,
    Signal,
    check_moments,
    check_spec,
    effective_cumulant,
    propagate,
)

_LARGEST = 1e4  # c / skip^2 from which on exp(c) is beyond float64
_GROUPS = 32  # distinct layers that a finite-depth law is given
Rule: TypeAlias = tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]]  # rules differ in size


def jacobian_law(spec: Checked[ResNetSpec], *, m1: Real = 0.0, m2: Real = 1.0) -> UniversalLaw:
    """Return the law of the squared singular values of the network's Jacobian.

    With a skip a it is the universal law at ``c / a^2``, scaled by ``a^(2 L)``.

    Args:
        spec: The network.
        m1: Mean of the entries of the input.
        m2: Mean square of the entries of the input, at least ``m1**2``.

    Returns:
        The law of the bulk in the limit of large width and depth.

    Raises:
        TypeError: If ``spec`` is no ResNetSpec, or ``m1`` or ``m2`` not a real number.
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
    if check_spec(spec).skip == 0:
        raise NotImplementedError(
            "`spec` has skip = 0; expected a residual network: the universal law describes "
            "small steps from the identity. Use finite_depth_law, or a skip."
        )
    return _universal(spec, effective_cumulant(spec, m1=m1, m2=m2))


def _universal(spec: ResNetSpec, c: float) -> UniversalLaw:
    """Return the universal law at ``c / skip^2``, scaled.

    Raises:
        OverflowError: If the scale leaves float64's range.
    """
    log_scale = 2 * spec.depth * math.log(abs(spec.skip))
    if not abs(log_scale) < 700:
        raise OverflowError(
            f"the law's scale skip^(2 depth) = exp({log_scale:.6g}) is outside float64; expected "
            f"an exponent within 700. Bring skip = {spec.skip:g} closer to 1 or reduce the depth."
        )
    return UniversalLaw(c=c / spec.skip**2, scale=math.exp(log_scale))


def finite_depth_law(
    spec: Checked[ResNetSpec], *, m1: Real = 0.0, m2: Real = 1.0
) -> FiniteDepthLaw:
    """Return the law of the squared singular values at this depth, in the wide limit.

    Each layer enters through the distribution of ``phi'(h)^2`` over h ~ N(0, q_l): exactly
    where it takes few values, otherwise by a Gauss rule that matches its first moments. Beyond
    32 layers those with about the same chi share the mixture of theirs, scaled so that ``E lam`` is
    exactly the product of all layers' own.

    Args:
        spec: The network; the skip may be 0.
        m1: Mean of the entries of the input.
        m2: Mean square of the entries of the input, at least ``m1**2``.

    Returns:
        The law of the bulk in the limit of large width.

    Raises:
        TypeError: If ``spec`` is no ResNetSpec, or ``m1`` or ``m2`` not a real number.
        ValueError: If ``m2 < m1**2`` or a moment is not finite.
        OverflowError: If the signal leaves the range of float64.

    Notes:
        Error of the quantiles in log lam from the Gauss rules: 2e-11; from sharing: 1e-14
        (ReLU, depth 100), 2e-9 (ELU, 100), 2e-7 (sigmoid, 60, whose chi varies fourfold), 1e-4
        (erf, 100, sigma_w = 4: fivefold).
        Cost: up to 2 s for the first question to the law, whatever the depth.

    References:
        Derived here.
    """
    act = activation(check_spec(spec).activation)
    signal = propagate(spec, m1=m1, m2=m2)
    q = np.ones(spec.depth) if spec.unit else signal.q
    size = max(8, 32 // spec.depth)
    rules: list[Rule] = [(np.empty(0), np.empty(0))] * spec.depth
    for group in _similar_layers(signal):
        d, weights = _mix([_slope_rule(act, float(q[layer]), size) for layer in group], size)
        d = d * _shared(spec, signal.chi[group])
        for layer in group:
            rules[layer] = d, weights
    most = max(len(d) for d, _ in rules)
    rows = [_pad(*rule, most) for rule in rules]
    d = spec.sigma_w**2 / spec.depth * np.array([row[0] for row in rows])
    return FiniteDepthLaw(d=d, weights=np.array([row[1] for row in rows]), skip=spec.skip)


def predict_outliers(
    spec: Checked[ResNetSpec], *, m1: Real = 0.0, m2: Real = 1.0
) -> Float[np.ndarray, "k"]:
    """Return the singular values beyond the bulk in the wide limit, ascending.

    Given the forward pass, a layer is free noise plus rank-one terms, and an outlier is a root of
    a determinant: (37) to (39) of docs/theory.md.

    Args:
        spec: The network; its skip must not be 0.
        m1: Mean of the entries of the input x_0.
        m2: Mean square of the entries of x_0, at least ``m1**2``.

    Returns:
        The singular values s (not squared) outside the bulk: none, mostly one, or more.

    Raises:
        TypeError: If ``spec`` is no ResNetSpec, or ``m1`` or ``m2`` not a real number.
        ValueError: If ``m2 < m1**2`` or a moment is not finite.
        NotImplementedError: If the skip is 0, since the law has then no bulk to leave.
        OverflowError: If the signal or an outlier leaves the range of float64.

    Notes:
        Accuracy: see the table that ``benchmarks/bench_outliers.py`` prints. One network scatters
        about this limit as its forward pass does; `isometry.nn.outliers_from_forward` follows it.
        Cost: 0.05 s at depth 20, about a second at 100.

    References:
        Derived here.

    Examples:
        >>> predict_outliers(ResNetSpec("relu", depth=50)).round(1)
        array([13.2])
        >>> predict_outliers(ResNetSpec("tanh", depth=50))
        array([], dtype=float64)
    """
    check_spec(spec)
    m1, m2 = check_moments(m1, m2)
    signal = propagate(spec, m1=m1, m2=m2)
    return scaled_outliers(spec, lambda: wide_outliers(spec, signal, m1=m1, m2=m2), c=signal.c)


def scaled_outliers(
    spec: ResNetSpec, found: Callable[[], list[float]], *, c: float
) -> Float[np.ndarray, "k"]:
    """Return outliers in s from their logarithms over ``|skip|^depth``.

    Args:
        spec: The network.
        found: What finds the logarithms.
        c: The network's, predicted or measured.

    Returns:
        The outliers, ascending.

    Raises:
        NotImplementedError: If the skip is 0, since the law has then no bulk to leave.
        OverflowError: If the law's scale, the layers over their skip or an outlier leaves the
            range of float64.
    """
    if spec.skip == 0:
        raise NotImplementedError(
            "`spec` has skip = 0; expected a residual network: without a skip the universal "
            "law has no bulk that a value could leave. Use a skip."
        )
    law = _universal(spec, c)
    if not law.c < _LARGEST:
        raise OverflowError(
            f"c over the skip's square is {law.c:.3g} and its outliers are beyond float64; "
            f"expected less than {_LARGEST:g}. Reduce sigma_w = {spec.sigma_w:g} or use a larger "
            f"skip than {spec.skip:g}."
        )
    log_s = np.array(found()) + math.log(law.scale) / 2
    if not np.all(np.abs(log_s) < 709):
        raise OverflowError(
            f"an outlier is exp({log_s[np.argmax(np.abs(log_s))]:.6g}), outside float64; expected "
            f"an exponent within 709. Reduce sigma_w = {spec.sigma_w:g}, "
            f"|skip| = {abs(spec.skip):g} or the depth."
        )
    return np.exp(log_s)


def _similar_layers(signal: Signal) -> list[Int[np.ndarray, "k"]]:
    """Return groups of layers: cuts of the layers sorted by q into equal variations of chi."""
    order = np.argsort(signal.q, kind="stable")
    if len(order) <= _GROUPS:
        return list(order[:, None])
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(signal.chi[order])))])
    label = np.floor(way / max(way[-1], 1e-300) * _GROUPS * (1 - 1e-12))
    return np.split(order, np.flatnonzero(np.diff(label)) + 1)


def _shared(spec: ResNetSpec, chi: Float[np.ndarray, "k"]) -> float:
    """Return what multiplies the shared slopes of layers so that ``E lam`` is their own product.

    The product of ``a^2 + chi_l / L`` is not the power of ``a^2`` plus the mean: second order in
    the spread of chi. (36) of docs/theory.md.
    """
    x, a2 = chi / spec.depth, spec.skip**2
    mean = float(x.mean())
    if np.ptp(x) <= 1e-12 * mean:  # equal layers stay equal to the last digit
        return 1.0
    if a2 > 0.0:
        return a2 * math.expm1(float(np.log1p(x / a2).mean())) / mean
    return math.exp(float(np.log(x / mean).mean())) if x.all() else 1.0


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
    """Return the Gauss rule of a discrete measure, by Lanczos with reorthogonalisation.

    Its atom at 0 is kept: without a skip it is an atom of the law.
    """
    d, where = np.unique(d, return_inverse=True)
    weights = np.bincount(where, weights)
    if len(d) <= size:
        return d, weights.round(15)  # so that equal layers are equal to the last digit
    if d[0] == 0.0:
        rest, shares = _gauss_rule(d[1:], weights[1:], size - 1)
        return np.append(0.0, rest), np.append(weights[0], shares * weights[1:].sum())
    basis = [np.sqrt(weights / weights.sum())]
    diagonal: list[float] = []
    off: list[float] = []
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
