"""All mass at one place: what a law without randomness holds where others hold tables."""

import dataclasses

import numpy as np

from isometry.theory.laws.piecewise import Vector


@dataclasses.dataclass(frozen=True)
class PointMass:
    """The unit mass at lam = ``place``; its methods are those of :class:`Tables`.

    ``log_place`` is kept apart, as the place itself may be 0 or infinity in float64.
    """

    place: float
    log_place: float

    def atoms(self) -> tuple[Vector, Vector]:
        return np.array([self.place]), np.ones(1)

    def log_support(self) -> tuple[float, float]:
        return self.log_place, self.log_place

    def support(self) -> tuple[float, float]:
        return self.place, self.place

    def density(self, lam: Vector, log: Vector | None) -> Vector:  # noqa: ARG002 (it is 0)
        return np.zeros_like(lam)

    def cdf(self, lam: Vector, log: Vector | None) -> Vector:
        reached = lam >= self.place if log is None else log >= self.log_place
        return reached.astype(np.float64)

    def ccdf(self, lam: Vector, log: Vector | None) -> Vector:
        return 1.0 - self.cdf(lam, log)

    def icdf(self, p: Vector) -> Vector:
        return np.full_like(p, self.place)

    def log_icdf(self, p: Vector) -> Vector:
        return np.full_like(p, self.log_place)

    def nodes(self) -> tuple[Vector, Vector]:
        return np.array([self.log_place]), np.ones(1)
