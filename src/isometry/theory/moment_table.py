"""Gaussian moments of a deep network's activation, read from a table in log q that is built once.

A network of a thousand layers asks for a thousand averages at nearly the same variances, and the
search for its sigma_w ten times as many. They are analytic in log q as far as |Im log q| < pi, so
a few Chebyshev nodes a panel give them to rounding, by (25) of docs/theory.md: 4.7^-20 = 4e-14.
Every panel is checked against averages between its nodes; one that fails is halved, and where
halving does not help each average is computed as if there were no table.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from isometry._typing import Bool, Float
from isometry.theory.activations.definition import Activation
from isometry.theory.gaussian import gaussian_moments

Averages = tuple[float, float, float, float]

_WIDTH = math.log(16.0)  # of a panel in log q: so that rho of (25) is 4.7
_NODES = 20  # fewer would be seen in the last digits of c
_TOLERANCE = 1e-10  # asked between the nodes, relative: what named activations promise
_HALVINGS = 3  # a panel of log 4 that still fails has a feature that no table should smooth
_ANGLES = np.pi * (np.arange(_NODES) + 0.5) / _NODES
_FIT = 2 / _NODES * np.cos(np.outer(np.arange(_NODES), _ANGLES))
_FIT[0] /= 2
_ORDER = np.arange(_NODES)
_CHECKS = np.array([-0.97, -0.6, -0.2, 0.25, 0.65, 0.98])


class Panel(NamedTuple):
    """Chebyshev coefficients of the four averages, or of the logarithms of their sizes."""

    coefficients: Float[np.ndarray, "nodes 4"]
    logarithmic: Bool[np.ndarray, "4"]
    sign: Float[np.ndarray, "4"]

    def at(self, u: float) -> Averages:
        """Return the averages at ``u`` in [-1, 1]."""
        found = np.cos(_ORDER * math.acos(u)) @ self.coefficients
        values = np.where(self.logarithmic, self.sign * np.exp(found), found)
        mean, square, slope, slope_square = values.tolist()
        return mean, square, slope, slope_square


class MomentTable:
    """The averages E phi, E phi^2, E phi', E phi'^2 as functions of the variance q.

    Args:
        exact: The averages at one q > 0, by closed form or integration.

    Notes:
        Relative error 1e-10 at the points where a panel is checked; a mean or slope that vanishes
        within a panel has that error relative to its root mean square. Measured at 1,000
        variances from 1e-6 to 1e6: below 2e-12 for h tanh h and every named activation. Cost: 26
        averages a panel, that is a factor of 16 in q; then 8 microseconds each.
    """

    def __init__(self, exact: Callable[[float], Averages]) -> None:
        self._exact = exact
        self._panels: dict[tuple[int, int], Panel | None] = {}

    def __call__(self, q: float) -> Averages:
        """Return the four averages at the variance ``q >= 0``.

        Raises:
            ValueError: If the activation leaves float64's range under the Gaussian.
        """
        if q == 0.0:
            return self._exact(q)
        x = math.log(q) / _WIDTH
        for halvings in range(_HALVINGS + 1):
            place = x * 2**halvings
            key = (halvings, math.floor(place))
            if key not in self._panels:
                self._panels[key] = self._build(*key)
            panel = self._panels[key]
            if panel is not None:
                return panel.at(min(2 * (place - key[1]) - 1, 1.0))
        return self._exact(q)

    def _build(self, halvings: int, index: int) -> Panel | None:
        """Return the panel, or nothing where it misses the averages between its nodes."""
        width = _WIDTH / 2**halvings

        def averages(u: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 4"]:
            return np.array([self._exact(math.exp((index + (1 + x) / 2) * width)) for x in u])

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # an average that is not accurate makes no table
                nodes, checks = averages(np.cos(_ANGLES)), averages(_CHECKS)
        except (ValueError, ArithmeticError, Warning):
            return None
        return _fitted(nodes, checks)


def _fitted(
    nodes: Float[np.ndarray, "nodes 4"], checks: Float[np.ndarray, "checks 4"]
) -> Panel | None:
    """Return the panel through the nodes if every average agrees with its checks."""
    sign = np.where((nodes < 0).all(axis=0), -1.0, 1.0)
    one_sign = np.all(nodes * sign > 0, axis=0)
    logs = _FIT @ np.log(np.where(one_sign, nodes * sign, 1.0))
    plain = _FIT @ nodes
    # The logarithm keeps what falls off like exp(-1/q) to its last digits; a mean that nearly
    # vanishes at one end is smooth itself, its logarithm is not.
    by_logs = one_sign & _agree(Panel(logs, one_sign, sign), checks, np.abs(checks))
    panel = Panel(np.where(by_logs, logs, plain), by_logs, sign)
    root = np.sqrt(np.abs(checks[:, [1, 1, 3, 3]]))
    scale = np.where(by_logs, np.abs(checks), np.where([True, False] * 2, root, np.abs(checks)))
    return panel if _agree(panel, checks, scale).all() else None


def _agree(
    panel: Panel, checks: Float[np.ndarray, "checks 4"], scale: Float[np.ndarray, "..."]
) -> Bool[np.ndarray, "4"]:
    found = np.array([panel.at(u) for u in _CHECKS])
    return np.all(np.abs(found - checks) <= _TOLERANCE * scale, axis=0)


def moment_table(act: Activation) -> MomentTable:
    """Return the activation's table, the same one whenever it is asked for again."""
    # Equal names and parameters mean equal functions in the catalogue only: a module may have been
    # trained since it was examined, and an activation made by hand may share a name with another.
    named = act.source is None and act.recipe is not None
    return _table(act, 0 if named else id(act.phi))


@functools.lru_cache(maxsize=64)
def _table(act: Activation, identity: int) -> MomentTable:  # noqa: ARG001 (part of the key)
    def exact(q: float) -> Averages:
        found = gaussian_moments(act, q)
        return found.mean, found.square, found.slope, found.slope_square

    return MomentTable(exact)
