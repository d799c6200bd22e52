"""Charts: log lam on one side of the support as a function of ``v`` in [0, 1]."""

import dataclasses

import numpy as np
from numpy.polynomial import chebyshev

from isometry.theory.laws.piecewise import Side, Vector, fit_nodes

PIECES = 1024
"""Pieces of degree 4 a side, as the universal law has: 1e-13 where the function is smooth."""

SERIES = 1e-10
"""Accuracy asked of the series of a density, against its largest term."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """One side of the support: log lam as a function of ``v``, and how the density vanishes."""

    edge: float
    split: float
    decay: float = 0.0
    order: int = 1

    @property
    def soft(self) -> bool:
        """Return whether the edge is positive; the distance's root is the coordinate then."""
        return self.decay == 0.0

    def t(self, v: Vector) -> Vector:
        """Return log lam at ``v``."""
        if self.soft:
            return self.edge + (self.split - self.edge) * v * v
        return self.split + np.log(v) / self.decay

    def nodes(self, count: int) -> Vector:
        """Return the points where a series of ``count`` terms is sampled."""
        y = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        return np.sqrt((1 + y) / 2) if self.soft else (1 + y) / 2

    def side(self, smooth: Vector) -> tuple[Side, float]:
        """Return the tables and the relative size of the last terms of the series."""
        count = smooth.size
        angles = np.pi * (np.arange(count) + 0.5) / count
        series = 2 / count * np.cos(np.outer(np.arange(count), angles)) @ smooth
        series[0] /= 2
        v = fit_nodes(PIECES)
        values = chebyshev.chebval(2 * (v * v if self.soft else v) - 1, series)
        return self.tables(values), float(
            np.abs(series[-count // 8 :]).max() / np.abs(series).max()
        )

    def tables(self, values: Vector) -> Side:
        """Return the tables from ``density / v**order`` at the nodes of the pieces."""
        jacobian = 2 * abs(self.split - self.edge) if self.soft else 1 / self.decay
        return Side.build(values, jacobian, self.order + 2 * self.soft, order=self.order)
