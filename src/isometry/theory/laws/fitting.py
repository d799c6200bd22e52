"""From the bulk of a measured spectrum to the c and the scale of the universal law.

With t_c(p) the quantiles of log lam at scale 1 and q(p) those measured, c makes q follow t_c with
slope 1 over the levels p of the bulk, and the mean of q - t_c is log scale (docs/theory.md, (46)).
"""

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from isometry._typing import FloatArray
from isometry.errors import ConvergenceError
from isometry.theory.laws.piecewise import Vector
from isometry.theory.roots import bracketed_root

LEVELS = np.linspace(0.05, 0.95, 19)
"""Levels of the bulk; edges and outliers are beyond."""
_LEAST, _MOST = 1e-8, 1e4
_STEP = 1e-3


@runtime_checkable
class Bulk(Protocol):
    """What a fit asks of a spectrum: ``isometry.Spectrum`` has it."""

    @property
    def values(self) -> FloatArray: ...

    @property
    def weights(self) -> FloatArray: ...

    @property
    def dimension(self) -> int: ...

    @property
    def unresolved(self) -> tuple[float, float]: ...


def fitted(
    spectrum: Bulk, quantiles: Callable[[float], Vector]
) -> tuple[float, float, tuple[float, float]]:
    """Return c, log scale and their errors.

    Args:
        spectrum: What was measured.
        quantiles: The law's quantiles of log lam at :data:`LEVELS`, as a function of c.

    Returns:
        c, log scale, and the errors of both.

    Raises:
        TypeError: If it is no spectrum.
        ValueError: If the lowest level is 0 or unresolved.
        ConvergenceError: If the spectrum is wider than any law.
    """
    measured = _measured(spectrum)
    centred = measured - measured.mean()

    def excess(log_c: float) -> float:
        t = quantiles(math.exp(log_c))
        t = t - t.mean()
        return float((centred - t) @ t / (t @ t))

    low, high = math.log(_LEAST), math.log(_MOST)
    if excess(low) <= 0:
        return 0.0, float(measured.mean()), (0.0, 0.0)
    if excess(high) > 0:
        raise ConvergenceError(
            f"`spectrum` is wider than the law of c = {_MOST:g}; expected a narrower one."
        )
    c = math.exp(bracketed_root(excess, low, high, xtol=1e-12))
    law, wider = quantiles(c), quantiles(c * (1 + _STEP))
    log_scale = float((measured - law).mean())
    apart = np.abs(measured - law - log_scale) + np.gradient(law, LEVELS) / spectrum.dimension
    turn = (wider - law) / (c * _STEP)
    turn = turn - turn.mean()
    return c, log_scale, (float(np.abs(turn) @ apart / (turn @ turn)), float(apart.mean()))


def _measured(spectrum: Bulk) -> Vector:
    """Return the quantiles of log lam, between the middles of the values' weights.

    Raises:
        TypeError: If it is no spectrum.
        ValueError: If the lowest level is 0 or unresolved.
    """
    if not hasattr(spectrum, "unresolved"):
        raise TypeError(
            f"`spectrum` is a {type(spectrum).__name__}; expected an isometry.Spectrum. Wrap "
            "values of lam = s^2 as Spectrum(values)."
        )
    middles = np.cumsum(spectrum.weights) - spectrum.weights / 2
    zeros = float(spectrum.weights[spectrum.values == 0].sum())
    low, high = spectrum.unresolved
    hidden = max(zeros, high if high > low else 0.0)
    if hidden >= LEVELS[0]:
        raise ValueError(
            f"`spectrum` has {hidden:.0%} of its values at 0 or unresolved; expected less than "
            f"{LEVELS[0]:.0%}. Fit the spectrum of a part without them."
        )
    positive = spectrum.values > 0
    return np.interp(LEVELS, middles[positive], np.log(spectrum.values[positive]))
