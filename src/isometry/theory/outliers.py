"""Which singular values leave the bulk? A mean-field lower bound from one tangent vector.

A tangent vector v is pushed through the layers, ``v' = a v + phi'(h) * (W v)``, for v_0 in the span
of the constant vector and the input x_0. In the wide limit its mean mu, its overlap t with
the signal and its mean square V close among themselves. Where ``E phi'(h) h`` is not 0 they grow
faster than the bulk: the mean of phi is a direction that every layer feeds. V is a quadratic form
of v_0, so its largest values over unit v_0 bound singular values from below: (37) to (39) of
docs/theory.md.
"""

import math

import numpy as np

from isometry._typing import Float
from isometry.theory.activations.lookup import Activation, activation
from isometry.theory.gaussian import gaussian_nodes
from isometry.theory.propagation import ResNetSpec


def tangent_growth(
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
        phi, slope_h, phi_slope_h, stretch, slope_square = _averages(spec, act, variance)
        rho = step / variance * t if variance > 0 else 0.0 * t
        cross = np.outer(mu, rho)
        V = (  # (39), symmetrised  # pyright: ignore[reportConstantRedefinition]
            (1 + step * slope_square / a**2) * V
            + slope_h / a * (cross + cross.T)
            + (stretch - variance * slope_square) / a**2 * np.outer(rho, rho)
        )
        # (38) and (37), in this order: both need the old mu
        t = a * t + phi * mu + (mean * slope_h + phi_slope_h / a) * rho
        mu = mu + slope_h / a * rho
    return V


def _averages(
    spec: ResNetSpec, act: Activation, q: float
) -> tuple[float, float, float, float, float]:
    """Return E phi, E phi' h, E phi phi' h, E (phi' h)^2 and E phi'^2 over h ~ N(0, q)."""
    h, weights = gaussian_nodes(1.0 if spec.unit else q, act.breakpoints)
    phi, dphi = act.phi(h), act.dphi(h)
    if spec.unit:  # phi_l(h) = s phi(h / s) of (64)
        h, phi = math.sqrt(q) * h, math.sqrt(q) * phi
    if spec.centre:
        phi = phi - float(weights @ phi)
    products = (phi, dphi * h, phi * dphi * h, (dphi * h) ** 2, dphi**2)
    mean, slope_h, phi_slope_h, stretch, slope_square = (float(weights @ p) for p in products)
    if spec.signs:  # a unit's sign is squared in the last three
        return 0.0, 0.0, phi_slope_h, stretch, slope_square
    return 0.0 if spec.centre else mean, slope_h, phi_slope_h, stretch, slope_square
