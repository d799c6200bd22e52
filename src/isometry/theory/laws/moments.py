"""The moments of a law: by formula where it knows one, by quadrature in log lam everywhere."""

import abc
import math

import numpy as np

from isometry._checks import check_real
from isometry._typing import Real
from isometry.theory.laws.arguments import LARGEST_LOG, Evaluation, check_method
from isometry.theory.laws.piecewise import Vector


class Moments(abc.ABC):
    """What a law answers about averages; logarithms inside, so that nothing overflows early."""

    @abc.abstractmethod
    def _nodes(self) -> tuple[Vector, Vector]:
        """Return quadrature nodes in log lam and weights, the atoms included."""

    def moment(self, n: Real, *, method: Evaluation = "formula") -> float:
        """Return ``E lam**n``.

        Args:
            n: The order: any real number where the law has no mass at 0.
            method: "formula" where the law knows one for this order, or "quadrature".

        Raises:
            TypeError: If ``n`` is not a number.
            ValueError: If ``n`` is not finite, the moment is infinite, its value leaves float64's
                range or ``method`` is unknown.
        """
        n = check_real("n", n)
        check_method(method, ("formula", "quadrature"))
        log = self._log_moment(n) if method == "formula" else self._integrated_moment(n)
        return _exp(f"moment `n` = {n:g}", log)

    def mean(self) -> float:
        """Return ``E lam``; raise a ``ValueError`` if it leaves float64's range."""
        return self.moment(1)

    def variance(self) -> float:
        """Return ``Var lam``, by quadrature about the mean, so that nothing cancels.

        Raises:
            ValueError: If the value leaves float64's range.
        """
        return _exp("variance", 2 * self._log_std())

    def std(self) -> float:
        """Return the standard deviation of lam.

        Raises:
            ValueError: If the value leaves float64's range.
        """
        return _exp("standard deviation", self._log_std())

    def log_mean(self) -> float:
        """Return ``E log lam``; minus infinity where lam = 0 carries mass."""
        t, weights = self._nodes()
        return float(weights @ t)

    def log_variance(self) -> float:
        """Return ``Var log lam``, the squared spread of the spectrum on a logarithmic scale.

        It is infinite where lam = 0 carries mass.
        """
        t, weights = self._nodes()
        if np.isneginf(t).any():
            return math.inf
        return float(weights @ (t - weights @ t) ** 2)

    @np.errstate(over="ignore", under="ignore")
    def _integrated_moment(self, n: float) -> float:
        """Return ``log E lam**n`` by quadrature."""
        t, weights = self._nodes()
        if n == 0:
            return 0.0
        terms = n * t
        top = float(terms.max())
        return top + float(np.log(weights @ np.exp(terms - top))) if abs(top) < math.inf else top

    @np.errstate(under="ignore", divide="ignore")
    def _log_std(self) -> float:
        """Return the logarithm of the standard deviation of lam."""
        t, weights = self._nodes()
        mean = self._log_moment(1.0)
        # (lam - mean)^2 in units of the largest of lam and the mean, whose squares may overflow
        unit = max(float(t.max()), mean)
        gap = np.exp(np.maximum(t, mean) - unit) * -np.expm1(-np.abs(t - mean))
        return unit + float(np.log(weights @ gap**2)) / 2

    def _log_moment(self, n: float) -> float:
        return self._integrated_moment(n)


def _exp(name: str, log: float) -> float:
    """Return ``exp(log)``.

    Raises:
        ValueError: If it leaves float64's range.
    """
    if not log < LARGEST_LOG:
        raise ValueError(f"The {name} is exp({log:.6g}); expected a number within float64's range.")
    return math.exp(log)
