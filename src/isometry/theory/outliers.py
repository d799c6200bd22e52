"""Which singular values leave the bulk? A mean-field lower bound from one tangent vector.

A tangent vector v is pushed through the layers, ``v' = a v + phi'(h) * (W v)``, for v_0 in the span
of the constant vector and the input x_0. In the wide limit its mean mu, its overlap t with
the signal and its mean square V close among themselves. Where ``E phi'(h) h`` is not 0 they grow
faster than the bulk: the mean of phi is a direction that every layer feeds. V is a quadratic form
of v_0, so its largest values over unit v_0 bound singular values from below.
"""

import math

import numpy as np

from isometry._typing import Float, Real
from isometry.theory.activations.lookup import Activation, activation
from isometry.theory.gaussian import gaussian_nodes
from isometry.theory.laws import UniversalLaw
from isometry.theory.propagation import ResNetSpec, check_moments, propagate


def predict_outliers(spec: ResNetSpec, m1: Real = 0.0, m2: Real = 1.0) -> Float[np.ndarray, "k"]:
    """Return lower bounds of the singular values beyond the bulk, ascending.

    Args:
        spec: The network; its skip must not be 0.
        m1: Mean of the entries of the input x_0.
        m2: Mean square of the entries of x_0, at least ``m1**2``.

    Returns:
        None, one or two singular values s (not squared) beyond the upper edge of the law.
        Empty does not prove that there is no outlier: a direction outside the span of the
        constant vector and x_0 is not seen.

    Raises:
        TypeError: If ``m1`` or ``m2`` is not a real number.
        ValueError: If ``m2 < m1**2`` or a moment is not finite.
        NotImplementedError: If the skip is 0, since the law has then no bulk to leave.
        OverflowError: If the signal or the tangent vector leaves the range of float64.

    Notes:
        Measured largest singular values and this bound: ReLU (N = 800, L = 50, sigma_w = 1)
        13.0 and 12.2; ReLU (1500, 30, sqrt 2) 18.5 and 16.1; GELU (800, 50, 2, with
        sigma_b^2 = 0.05) 113 and 89; softplus (800, 50, 1) 9.2 and 8.6. Odd: none.

    References:
        Derived here.

    Examples:
        >>> predict_outliers(ResNetSpec("relu", depth=50)).round(1)
        array([12.2])
        >>> predict_outliers(ResNetSpec("tanh", depth=50))
        array([], dtype=float64)
    """
    if spec.skip == 0:
        raise NotImplementedError(
            "`spec` has skip = 0; expected a residual network: without a skip the universal "
            "law has no bulk that a value could leave. Use a skip."
        )
    m1, m2 = check_moments(m1, m2)
    signal = propagate(spec, m1, m2)
    bulk = UniversalLaw(c=signal.c / spec.skip**2)
    with np.errstate(over="ignore", invalid="ignore"):
        grown = _stretch(spec, signal.q, np.concatenate([[m1], signal.m1[:-1]]), m1, m2)
    scale = spec.depth * math.log(abs(spec.skip))
    if not np.isfinite(grown).all() or scale + math.log(max(1.0, grown.max())) / 2 > 709:
        raise OverflowError(
            f"the tangent vector overflows within {spec.depth} layers; expected a finite signal. "
            f"Reduce sigma_w = {spec.sigma_w:g}, |skip| = {abs(spec.skip):g} or the depth."
        )
    lam = np.linalg.eigvalsh(grown)
    return np.exp(scale) * np.sqrt(lam[lam > bulk.support()[1] * (1 + 1e-9)])


def _stretch(
    spec: ResNetSpec,
    q: Float[np.ndarray, "depth"],
    m1_before: Float[np.ndarray, "depth"],
    m1: float,
    m2: float,
) -> Float[np.ndarray, "2 2"]:
    """Return V_L / a^(2L) as a quadratic form on the unit vectors along 1 and x_0 - m1."""
    act, a, step = activation(spec.activation), spec.skip, spec.sigma_w**2 / spec.depth
    mu = np.array([1.0, 0.0])
    t = np.array([m1, math.sqrt(m2 - m1**2)])
    V = np.eye(2)
    for variance, mean in zip(q.tolist(), m1_before.tolist(), strict=True):
        phi, slope_h, phi_slope_h, stretch, slope_square = _averages(act, variance)
        rho = step / variance * t if variance > 0 else 0.0 * t
        cross = np.outer(mu, rho)
        V = (
            (1 + step * slope_square / a**2) * V
            + slope_h / a * (cross + cross.T)
            + (stretch - variance * slope_square) / a**2 * np.outer(rho, rho)
        )
        t = a * t + phi * mu + (mean * slope_h + phi_slope_h / a) * rho
        mu = mu + slope_h / a * rho
    return V


def _averages(act: Activation, q: float) -> tuple[float, float, float, float, float]:
    """Return E phi, E phi' h, E phi phi' h, E (phi' h)^2 and E phi'^2 over h ~ N(0, q)."""
    h, weights = gaussian_nodes(q, act.breakpoints)
    phi, dphi = act.phi(h), act.dphi(h)
    products = (phi, dphi * h, phi * dphi * h, (dphi * h) ** 2, dphi**2)
    mean, slope_h, phi_slope_h, stretch, slope_square = (float(weights @ p) for p in products)
    return mean, slope_h, phi_slope_h, stretch, slope_square
