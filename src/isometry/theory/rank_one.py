"""The determinant whose zeros are the singular values outside the bulk: (39) of docs/theory.md.

Rank-one terms that touch the same column are put together, so that its size is twice the depth.
"""

from typing import TypeAlias

import numpy as np

from isometry._typing import Bool, Float, FloatArray
from isometry.theory.noise_chain import blocks, effective_alpha, log_singular_value, waves
from isometry.theory.overlaps import Entries, Overlaps

Matrices: TypeAlias = Float[np.ndarray, "k depth depth"]
Signed: TypeAlias = tuple[FloatArray, FloatArray]

NOTHING = 1e-290
"""Mean square of a layer's input up to which it has no direction: one over it is near overflow."""


def of_overlaps(of: Overlaps, mu: Float[np.ndarray, "k"]) -> Signed:
    """Return sign and log modulus at every mu, with every entry's D^2 replaced by its mean."""
    size = np.diag(of.x_x)
    per = _inverse(size)
    mean = blocks(of.alpha, mu)
    return _signed(
        mean.y_y * (of.u_x.T * per[:, None]),
        mean.y_t * (of.x_x * per[:, None] * per),
        mean.t_y * of.u_u,
        mean.t_t * (of.u_x * per),
        of.alpha * mean.below * size,
    )


def of_entries(of: Entries, mu: float) -> tuple[float, float, float]:
    """Return the determinant at one mu where every entry has its own D^2.

    Args:
        of: The entries.
        mu: Place on the chart of :mod:`isometry.theory.noise_chain`.

    Returns:
        Sign, log modulus, and log s, which depends on the layers' effective noise: (39d).

    Raises:
        ConvergenceError: If a layer's noise is too large for an effective one, as for few layers.
    """
    effective = effective_alpha(of.alpha, mu)
    wave = waves(of.alpha, effective, mu)
    n = of.u.shape[1]
    size = (of.x * of.x).sum(axis=1) / n
    v = of.x * _inverse(size)[:, None]
    layer = np.arange(len(effective))
    early, sooner = layer[:, None] <= layer, layer[:, None] < layer
    v_forth, v_back = v * wave.y[:-1], v * wave.y_back[:-1] / n
    u_forth, u_back = of.u * wave.t[1:], of.u * wave.t_back[1:] / n
    signs, logs = _signed(
        _either(early, v_forth @ u_back.T, v_back @ u_forth.T),
        _either(early, v_forth @ v_back.T, v_back @ v_forth.T),
        _either(early, u_forth @ u_back.T, u_back @ u_forth.T),
        _either(sooner, u_forth @ v_back.T, u_back @ v_forth.T),
        (wave.weight * size)[None],
    )
    log_s = log_singular_value(effective, np.array([mu]))
    return float(signs[0]), float(logs[0]), float(log_s[0])


def _either(
    where: Bool[np.ndarray, "depth depth"],
    before: Float[np.ndarray, "depth depth"],
    after: Float[np.ndarray, "depth depth"],
) -> Float[np.ndarray, "1 depth depth"]:
    """Return the one or the other block, for one mu."""
    return np.where(where, before, after)[None]


def _inverse(size: Float[np.ndarray, "depth"]) -> Float[np.ndarray, "depth"]:
    """Return 1 / size, and 0 where an input of a layer is 0: it has no direction."""
    return np.divide(1.0, size, where=size > NOTHING, out=np.zeros_like(size))


def _signed(
    y_y: Matrices, y_t: Matrices, t_y: Matrices, t_t: Matrices, kept: Float[np.ndarray, "k depth"]
) -> Signed:
    """Return sign and log modulus of ``det(1 - M R)``.

    ``kept`` is what the noise does not do to x_{l-1}: it joins the row of t to the column of y.
    """
    rows = np.concatenate([y_y, y_t], axis=2)
    others = np.concatenate([t_y, t_t], axis=2) - kept[:, :, None] * rows
    matrix = np.concatenate([rows, others], axis=1)
    sign, log_abs = np.linalg.slogdet(np.eye(matrix.shape[1]) - matrix)
    return sign, log_abs
