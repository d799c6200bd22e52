"""Tables of the law of a product of free factors, or an error: mass and mean are checked."""

import dataclasses
import math

import numpy as np
from numpy.polynomial import chebyshev

from isometry.errors import ConvergenceError
from isometry.theory.laws.free_product import Product, lower_edge, resolvent, upper_edge
from isometry.theory.laws.piecewise import Side, Vector, fit_nodes
from isometry.theory.laws.tables import NODES, SOFT, Shape, quadrature

PIECES = 1024
"""Pieces of degree 4 a side, as the universal law has: 1e-13 where the function is smooth."""

SAMPLES = (48, 96, 192, 384)
"""Points per side where the resolvent is solved until the series has converged: 48 mostly do; a
law that needs more than 384 has a second interval or a density that diverges."""

SERIES, CHECK = 1e-10, 1e-7
"""Accuracy asked of the series of the density, and of the mass and the mean, which see its sum."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """One side of the support: log lam as a function of ``v``, and how the density vanishes."""

    edge: float
    split: float
    decay: float = 0.0
    order: int = 1

    @property
    def soft(self) -> bool:
        """Return whether the density vanishes like a square root at a positive edge."""
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
        return Side.build(values, jacobian, SOFT if self.soft else self.order, order=self.order)


def tabulate(product: Product) -> Shape:
    """Return the tables of the product's law.

    Raises:
        ConvergenceError: If mass or mean is wrong by 1e-7, or a point is not reached.
    """
    floor = product.floor
    left, right = _charts(product, floor)
    low, high, error = _sides(product, floor, (left, right), SAMPLES[0])
    for count in SAMPLES[1:]:
        if error >= SERIES:
            low, high, error = _sides(product, floor, (left, right), count)
    shape = Shape(left.edge, right.edge, left.split, low, high, left.decay)
    _check(shape, product, floor)
    return shape


def _sides(
    product: Product, floor: float, charts: tuple[Chart, Chart], count: int
) -> tuple[Side, Side, float]:
    """Return both sides' tables from ``count`` points each, and their series' last terms.

    Raises:
        ConvergenceError: If a point is not reached, or rounding leaves no density.
    """
    left, right = charts
    v, w = left.nodes(count), right.nodes(count)
    t = np.concatenate([left.t(v), right.t(w)])
    density = -resolvent(product, floor, t, np.zeros_like(t)).imag / np.pi
    if not min(density[:count].max(), density[count:].max()) > 0.0:
        raise ConvergenceError(
            f"The density between log lam = {left.edge:.6g} and {right.edge:.6g} is lost to "
            "rounding; the layers differ too much in size. Compare with simulated matrices instead."
        )
    low, error = left.side(density[:count] / v**left.order)
    high, other = right.side(density[count:] / w)
    return low, high, max(error, other)


def _charts(product: Product, floor: float) -> tuple[Chart, Chart]:
    """Return the charts of both sides: edges, the point where they meet, the kind of lower edge.

    Raises:
        ConvergenceError: If an edge is not found, or both are one number.
    """
    decay, order = product.decay()
    upper = upper_edge(product)
    if not decay:
        lower = lower_edge(product, floor)
        if not lower < (lower + upper) / 2 < upper:
            raise ConvergenceError(
                f"The edges of the support, at log lam = {lower:.17g}, are closer than float64 "
                "tells apart. Take the universal law at this c, or a point."
            )
        return Chart(lower, (lower + upper) / 2), Chart(upper, (lower + upper) / 2)
    u = np.array([(1 + floor) / 2])
    middle = float(product.linearise(u, product.solve_real(u))[0][0])
    split = min(middle, upper - 1.0)  # a unit of log lam is left to the side of the soft edge
    return Chart(-math.inf, split, decay, order), Chart(upper, split)


def _check(shape: Shape, product: Product, floor: float) -> None:
    """Refuse tables whose mass or mean is wrong.

    Raises:
        ConvergenceError: If either is off by 1e-7.
    """
    t, weights = quadrature(shape, NODES)
    mass = weights.sum() + floor
    mean = weights @ np.exp(t - product.log_mean())
    if not max(abs(mass - 1.0), abs(mean - 1.0)) < CHECK:
        raise ConvergenceError(
            f"The density has mass {mass:.9g} and {mean:.9g} of its mean; expected 1 to {CHECK:g}. "
            "The support may be several intervals, or the density diverge inside (one layer with "
            "dead units does); compare with simulated matrices instead."
        )
