"""Laws that read their answers from one value: tables of the density, or a point mass."""

import abc
import math

from isometry.theory.laws.base import SpectralLaw
from isometry.theory.laws.mixture import Mixture
from isometry.theory.laws.piecewise import Vector
from isometry.theory.laws.point_mass import PointMass
from isometry.theory.laws.tables import Tables


class TabulatedLaw(SpectralLaw):
    """A law that holds tables, or a point mass where nothing is random."""

    @abc.abstractmethod
    def _held(self) -> Tables | PointMass | Mixture:
        """Return what the law reads its answers from; it is made once and kept."""

    def atoms(self) -> tuple[Vector, Vector]:
        """Return the places and the weights of the atoms."""
        return self._held().atoms()

    def log_support(self) -> tuple[float, float]:
        """Return the logarithms of the edges of the continuous part."""
        return self._held().log_support()

    def support(self) -> tuple[float, float]:
        """Return the edges of the support; 0 or infinity where float64 cannot hold them."""
        return self._held().support()

    def _density(self, lam: Vector, log: Vector | None = None) -> Vector:
        return self._held().density(lam, log)

    def _cdf(self, lam: Vector, log: Vector | None = None) -> Vector:
        return self._held().cdf(lam, log)

    def _ccdf(self, lam: Vector, log: Vector | None = None) -> Vector:
        return self._held().ccdf(lam, log)

    def _icdf(self, p: Vector) -> Vector:
        return self._held().icdf(p)

    def _log_icdf(self, p: Vector) -> Vector:
        return self._held().log_icdf(p)

    def _nodes(self) -> tuple[Vector, Vector]:
        return self._held().nodes()

    def _integrated_moment(self, n: float) -> float:
        held = self._held()
        if isinstance(held, Tables) and n <= held.least_moment:
            return math.inf
        return super()._integrated_moment(n)
