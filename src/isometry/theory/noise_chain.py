"""The mean resolvent of a chain of layers 1 + noise outside its bulk, in closed form.

The layers are ``1 + E_l`` with free noise whose entries have variance ``alpha_l / N``. A value s is
singular for their product iff the linear system

    y_l = y_{l-1} + E_l y_{l-1},    t_{l-1} = t_l + E_l^T t_l,    y_L = s t_L,    t_0 = s y_0

is. The fixed point of its mean resolvent has two invariants, and what is left is one number mu:
(39a) to (39d) of docs/theory.md. Above 1 s lies beyond the bulk and below -1 beneath it, so that
the edges of the bulk are the turning points of s(mu).
"""

import math
from dataclasses import dataclass

import numpy as np

from isometry._typing import Bool, Float, FloatArray
from isometry.errors import ConvergenceError
from isometry.theory.roots import bracketed_root

_ROUNDS = 100
_WIDEST = 40.0  # log of the largest |mu| - 1: the edge of a bulk of c = 1e-17


@dataclass(frozen=True, eq=False)
class Blocks:
    """The mean resolvent between the rows and columns that rank-one terms of a layer touch.

    Each array has the axes (mu, column's layer, row's layer); a row is named by the variable whose
    equation it is.

    Attributes:
        y_y: Column y_{l-1}, row of y_m.
        y_t: Column y_{l-1}, row of t_{m-1}.
        t_y: Column t_l, row of y_m.
        t_t: Column t_l, row of t_{m-1}.
        below: Element of column t_l and row y_l, axes (mu, layer).
    """

    y_y: Float[np.ndarray, "k depth depth"]
    y_t: Float[np.ndarray, "k depth depth"]
    t_y: Float[np.ndarray, "k depth depth"]
    t_t: Float[np.ndarray, "k depth depth"]
    below: Float[np.ndarray, "k depth"]


def growth(
    alpha: Float[np.ndarray, "*layers"], mu: Float[np.ndarray, "*places"]
) -> Float[np.ndarray, "..."]:
    """Return theta_l(mu), (39a), by which a layer lets the resolvent grow; broadcast."""
    return (1.0 + alpha * mu + np.sqrt(1.0 + 2.0 * alpha * mu + alpha * alpha)) / 2.0


def log_singular_value(
    alpha: Float[np.ndarray, "depth"], mu: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "k"]:
    """Return log s(mu): (39b)."""
    with np.errstate(divide="ignore"):
        ratio = np.log((mu + 1.0) / (mu - 1.0))
    return (ratio + np.log(growth(alpha, mu[:, None])).sum(axis=1)) / 2.0


def mu_of(z: FloatArray, side: int) -> FloatArray:
    """Return mu at ``z = log(|mu| - 1)``; ``side`` is 1 above the bulk and -1 beneath it."""
    return side * (1.0 + np.exp(z))


def edge(alpha: Float[np.ndarray, "depth"], side: int) -> float:
    """Return the z at which s(mu) turns: the upper (1) or lower (-1) edge of the bulk."""
    top = _WIDEST
    if side < 0:  # beyond it the square root of (39a) is not real, and at it the slope is infinite
        largest = float(alpha.max())
        top = min(top, math.log(max((1.0 - largest) ** 2 / (2.0 * largest), 1e-30)))

    def slope(z: float) -> float:
        """Return ``(mu^2 - 1) d log s^2 / d mu``."""
        mu = side * (1.0 + math.exp(z))
        root = np.sqrt(np.maximum(1.0 + 2.0 * alpha * mu + alpha * alpha, 1e-30))
        growing = alpha * (1.0 + 1.0 / root) / (1.0 + alpha * mu + root)
        return (mu * mu - 1.0) * float(growing.sum()) - 2.0

    return bracketed_root(slope, top - 80.0, top, xtol=1e-12)


def blocks(alpha: Float[np.ndarray, "depth"], mu: Float[np.ndarray, "k"]) -> Blocks:
    """Return the mean resolvent at every mu: the products of (39c)."""
    theta = growth(alpha, mu[:, None])
    s = np.exp(log_singular_value(alpha, mu))
    first = (mu + 1.0) / (2.0 * s)  # p_0
    zero = np.zeros((len(mu), 1))
    p = np.concatenate([zero, np.cumsum(np.log(theta), axis=1)], axis=1)
    step = -np.log(1.0 - alpha * (mu[:, None] + 1.0) / (2.0 * theta))
    y = np.concatenate([zero, np.cumsum(step, axis=1)], axis=1)
    up, down = (mu[:, None, None] + 1.0) / 2.0, (mu[:, None, None] - 1.0) / 2.0
    kappa, first = up * down, first[:, None, None]
    layer = np.arange(len(alpha))
    early = layer[:, None] <= layer  # the column lies before the row's jump
    sooner = layer[:, None] < layer
    y0, y1, p0, p1 = y[:, :-1], y[:, 1:], p[:, :-1], p[:, 1:]
    return Blocks(
        y_y=_joined(early, down, _gap(y0, y1), up, _gap(p0, p1) - _gap(y0, y1)),
        y_t=first
        * _joined(early, 1.0, _gap(y0, y0) + p0[:, None, :], 1.0, p0[:, :, None] - _gap(y0, y0)),
        t_y=kappa
        / first
        * _joined(early, 1.0, _gap(y1, y1) - p1[:, :, None], 1.0, -p1[:, None, :] - _gap(y1, y1)),
        t_t=_joined(sooner, up, _gap(y1, y0) - _gap(p1, p0), down, -_gap(y1, y0)),
        below=(kappa / first)[:, :, 0] * np.exp(-p1),
    )


def _gap(
    columns: Float[np.ndarray, "k depth"], rows: Float[np.ndarray, "k depth"]
) -> Float[np.ndarray, "k depth depth"]:
    """Return every column's number minus every row's."""
    return columns[:, :, None] - rows[:, None, :]


def _joined(
    where: Bool[np.ndarray, "depth depth"],
    before: Float[np.ndarray, "k 1 1"] | float,
    log_before: Float[np.ndarray, "k depth depth"],
    after: Float[np.ndarray, "k 1 1"] | float,
    log_after: Float[np.ndarray, "k depth depth"],
) -> Float[np.ndarray, "k depth depth"]:
    """Return ``before * exp(log_before)`` where the mask is true and the other elsewhere.

    The exponent of the side that is not taken may overflow, so it is never formed.
    """
    factor = np.exp(np.where(where, log_before, log_after))
    return np.where(where, before * factor, after * factor)


def effective_alpha(alpha: Float[np.ndarray, "depth n"], mu: float) -> Float[np.ndarray, "depth"]:
    """Return the one noise of each layer that acts in the mean as its entries' different ones do.

    Args:
        alpha: Every entry's noise.
        mu: Place on the chart.

    Returns:
        The root of ``<1 / (1 - (alpha_i - alpha) kappa / theta)> = 1``, (39d), for every layer.

    Raises:
        ConvergenceError: If entries differ too much for one noise to stand for them there.
    """
    effective = alpha.mean(axis=1)
    kappa = (mu * mu - 1.0) / 4.0
    for _ in range(_ROUNDS):
        if not (1.0 + effective * (2.0 * mu + effective) >= 0.0).all():  # (39a) is not real there
            break
        nu = kappa / growth(effective, np.array(mu))
        apart = alpha - effective[:, None]
        left = 1.0 - apart * nu[:, None]
        if not left.min() > 0.0:
            break
        step = (apart / left).mean(axis=1)
        effective = effective + step
        if np.abs(step).max() <= 1e-12 * effective.max():
            return effective
    raise ConvergenceError(
        f"no effective noise of {len(alpha)} layers at mu = {mu:g}; expected layers that change "
        "the signal little. Use more layers or a smaller sigma_w."
    )


@dataclass(frozen=True, eq=False)
class Waves:
    """Solutions of every entry's own chain from both ends, which make its resolvent.

    Attributes:
        y: y_0 to y_L from the input's end, entries in the second axis.
        t: t_0 to t_L from the input's end.
        y_back: y from the output's end, divided by the Wronskian.
        t_back: t from the output's end, divided by the Wronskian.
        weight: Every layer's ``alpha * below``, which the noise does not do to x_{l-1}.
    """

    y: Float[np.ndarray, "layers n"]
    t: Float[np.ndarray, "layers n"]
    y_back: Float[np.ndarray, "layers n"]
    t_back: Float[np.ndarray, "layers n"]
    weight: Float[np.ndarray, "depth"]


def waves(
    alpha: Float[np.ndarray, "depth n"], effective: Float[np.ndarray, "depth"], mu: float
) -> Waves:
    """Return the two solutions of every entry's chain at one mu."""
    theta = growth(effective, np.array(mu))
    s = math.exp(float(log_singular_value(effective, np.array([mu]))[0]))
    p = np.concatenate([[1.0], np.cumprod(theta)]) * (mu + 1.0) / (2.0 * s)
    weight = effective * (mu * mu - 1.0) / 4.0 / p[1:]
    feed = alpha * p[:-1, None]
    depth, n = alpha.shape
    y, t, y_back, t_back = np.empty((4, depth + 1, n))
    y[0], t[0], y_back[-1], t_back[-1] = 1.0, s, s, 1.0
    for layer in range(depth):
        t[layer + 1] = t[layer] - weight[layer] * y[layer]
        y[layer + 1] = y[layer] + feed[layer] * t[layer + 1]
    for layer in range(depth - 1, -1, -1):
        y_back[layer] = y_back[layer + 1] - feed[layer] * t_back[layer + 1]
        t_back[layer] = t_back[layer + 1] + weight[layer] * y_back[layer]
    wronskian = t[0] * y_back[0] - y[0] * t_back[0]
    return Waves(y, t, y_back / wronskian, t_back / wronskian, weight)
