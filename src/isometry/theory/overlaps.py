"""Inner products of the rank-one terms of a network's layers, in the wide limit.

Given the forward pass, a layer's Jacobian over its skip is

    1 + u_l v_l^T + (noise that does not act on x_{l-1}),
    u_l = D_l k_l / a,   k_l = W_l x_{l-1},   v_l = x_{l-1} / |x_{l-1}|^2

so that what lies outside the bulk knows the network through the inner products of the u_l and the
x_l: (37) and (38) of docs/theory.md. Entries of h_l in different layers are independent.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from isometry._typing import Float
from isometry.theory.activations.lookup import Activation, activation
from isometry.theory.gaussian import gaussian_nodes
from isometry.theory.propagation import ResNetSpec, Signal


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Inner products over entries (means, not sums) for l, m = 1..depth.

    Attributes:
        u_u: ``<u_l u_m>``.
        u_x: ``<u_l x_{m-1}>``.
        x_x: ``<x_{l-1} x_{m-1}>``.
        alpha: ``N Var W_l <D_l^2> / a^2``, the size of a layer's noise.
    """

    u_u: Float[np.ndarray, "depth depth"]
    u_x: Float[np.ndarray, "depth depth"]
    x_x: Float[np.ndarray, "depth depth"]
    alpha: Float[np.ndarray, "depth"]

    def merged(self, groups: int) -> "Overlaps":
        """Return those of groups of consecutive layers: u and alpha add up, x is their mean."""
        add = membership(len(self.alpha), groups)
        mean = add / add.sum(axis=1, keepdims=True)
        return Overlaps(
            add @ self.u_u @ add.T, add @ self.u_x @ mean.T, mean @ self.x_x @ mean.T,
            add @ self.alpha,
        )  # fmt: skip


class Entries(NamedTuple):
    """What single entries do along the layers, in the units of :class:`Overlaps`."""

    u: Float[np.ndarray, "depth n"]
    x: Float[np.ndarray, "depth n"]
    alpha: Float[np.ndarray, "depth n"]

    def overlaps(self) -> Overlaps:
        """Return the inner products of these very entries."""
        n = self.u.shape[1]
        u, x = self.u, self.x
        return Overlaps(u @ u.T / n, u @ x.T / n, x @ x.T / n, self.alpha.mean(axis=1))

    def merged(self, groups: int) -> "Entries":
        """Return those of groups of consecutive layers, as :meth:`Overlaps.merged` does."""
        add = membership(len(self.alpha), groups)
        return Entries(add @ self.u, add @ self.x / add.sum(axis=1)[:, None], add @ self.alpha)


def wide_overlaps(spec: ResNetSpec, signal: Signal, *, m1: float, m2: float) -> Overlaps:
    """Return the inner products as the width goes to infinity: (37) and (38).

    Args:
        spec: The network; its skip is not 0.
        signal: Its signal.
        m1: Mean of the entries of x_0.
        m2: Mean square of the entries of x_0.

    Returns:
        The inner products.
    """
    a, depth = spec.skip, spec.depth
    mean = np.concatenate([[m1], signal.m1[:-1]])
    square = np.concatenate([[m2], signal.m2[:-1]])
    step = spec.sigma_w**2 / depth
    act = activation(spec.activation)
    rows = [_averages(spec, act, *of) for of in zip(signal.q.tolist(), step * square, strict=True)]
    u, u_square, covariance, slope_square = np.array(rows).T
    u, u_square, covariance = u / a, u_square / a**2, covariance / a
    layer = np.arange(depth)
    early, late = np.minimum.outer(layer, layer), np.maximum.outer(layer, layer)
    fade = a ** (late - early).astype(float)
    fed = np.triu(a ** np.abs(layer[:, None] - layer + 1.0), 1)  # x_{m-1} holds phi(h_l), l < m
    return Overlaps(
        u_u=np.outer(u, u) + np.diag(u_square - u * u),
        u_x=np.outer(u, mean) + fed * covariance[:, None],
        x_x=fade * square[early] + mean[early] * (mean[late] - fade * mean[early]),
        alpha=step * slope_square / a**2,
    )


def wide_entries(
    spec: ResNetSpec, signal: Signal, *, m1: float, m2: float, count: int, seed: int
) -> Entries:
    """Return entries drawn from the wide limit.

    Args:
        spec: The network; its skip is not 0.
        signal: Its signal.
        m1: Mean of the entries of x_0.
        m2: Mean square of the entries of x_0, which are taken as Gaussian.
        count: Number n of entries.
        seed: Of the draw.

    Returns:
        n entries of every layer.
    """
    rng, act = np.random.default_rng(seed), activation(spec.activation)
    step = spec.sigma_w**2 / spec.depth
    x = m1 + math.sqrt(max(m2 - m1 * m1, 0.0)) * rng.standard_normal(count)
    found = np.empty((3, spec.depth, count))
    before = [m2, *signal.m2[:-1].tolist()]
    for layer, (q, square) in enumerate(zip(signal.q.tolist(), before, strict=True)):
        k = math.sqrt(step * square) * rng.standard_normal(count)
        h = k + spec.sigma_b * rng.standard_normal(count)
        s = math.sqrt(q) if spec.unit and q > 0.0 else 1.0  # s phi(h / s) of (64)
        sign = rng.choice([-1.0, 1.0], count) if spec.signs else 1.0
        slope = sign * act.dphi(h / s) / spec.skip
        found[:, layer] = slope * k, x, step * slope**2
        mean = float(signal.mean[layer]) if spec.centre else 0.0
        x = spec.skip * x + sign * (s * act.phi(h / s) - mean)
    return Entries(*found)


def membership(depth: int, groups: int) -> Float[np.ndarray, "groups depth"]:
    """Return which layers are in which group."""
    return (np.arange(depth) * groups // depth == np.arange(groups)[:, None]).astype(float)


def _averages(
    spec: ResNetSpec, act: Activation, q: float, of_weights: float
) -> tuple[float, float, float, float]:
    """Return E u, E u^2, Cov(phi, u) and E phi'^2 with u = phi'(h) k.

    h ~ N(0, q) is k plus a bias; k given h is Gaussian with mean ``share * h``.
    """
    share = of_weights / q if q > 0.0 else 0.0
    s = math.sqrt(q) if spec.unit and q > 0.0 else 1.0  # s phi(h / s) of (64)
    h, weights = gaussian_nodes(q / (s * s), act.breakpoints)
    phi, dphi, h = s * act.phi(h), act.dphi(h), s * h
    products = phi, dphi * h, phi * dphi * h, (dphi * h) ** 2, dphi**2
    mean, slope_h, phi_slope_h, stretch, square = (float(weights @ p) for p in products)
    u_square = share * share * stretch + of_weights * (1.0 - share) * square
    if spec.signs:  # of mean 0 both, and squared where they meet
        centred = phi_slope_h - (mean * slope_h if spec.centre else 0.0)
        return 0.0, u_square, share * centred, square
    return share * slope_h, u_square, share * (phi_slope_h - mean * slope_h), square
