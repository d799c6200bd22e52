# pyright: reportConstantRedefinition=false
"""Tables of the law of a free product, over a support of interval or several.

Between two intervals the resolvent is real, and log z is a real function of u there that turns
around at both edges. So a point in a gap leads to both edges exactly, and the search needs no scan
finer than the samples that the tables take anyway: an interval whose samples meet a gap is cut.
"""

import dataclasses
import math

import numpy as np
from numpy.polynomial import chebyshev

from isometry._typing import Int
from isometry.errors import ConvergenceError
from isometry.theory.laws.arguments import ComplexArray
from isometry.theory.laws.charts import SERIES, Chart
from isometry.theory.laws.edges import Edge, Gap, beside, edge
from isometry.theory.laws.free_product import (
    Product,
    continued,
    followed,
    newton,
)
from isometry.theory.laws.mixture import Mixture, normalised, tables_of
from isometry.theory.laws.piecewise import Vector, fit_nodes
from isometry.theory.laws.tables import NODES, Shape, Tables, quadrature

CHECK, SEVERAL = 1e-8, 1e-5
"""Accuracy asked of mass and mean: of one interval, and over several, whose edges add up."""

_SERIES_POINTS = (48, 96, 192)
_PANEL = 16  # points of a panel
_POINTS = np.cos(np.pi * (np.arange(_PANEL) + 0.5) / _PANEL)
_TO_SERIES = np.linalg.inv(chebyshev.chebvander(_POINTS, _PANEL - 1))
_FINE = 4096  # pieces of the tables of a side that takes panels
_LEVELS = 13  # halvings of a side before a panel is as small as a piece of the tables
_EDGE_LEVELS = 5  # of the panel at an edge, where density / v loses digits to the difference in t
_REAL = 1e-6  # imaginary part, relative to u and to w, below which a point may lie in a gap


@dataclasses.dataclass(frozen=True)
class Samples:
    """Solved points of one interval."""

    t: Vector
    u: ComplexArray
    E: ComplexArray

    def nearest(self, t: Vector) -> Int[np.ndarray, "n"]:
        """Return the index of the nearest sample of every point."""
        order = np.argsort(self.t)
        middles = (self.t[order][1:] + self.t[order][:-1]) / 2
        return order[np.searchsorted(middles, t)]

    def with_(self, other: "Samples") -> "Samples":
        """Return the samples of both."""
        pairs = (self.t, other.t), (self.u, other.u), (self.E, other.E)
        return Samples(*(np.concatenate(pair) for pair in pairs))


@np.errstate(all="ignore")  # factors beyond float64 end in an edge that is not found
def held(product: Product) -> Tables | Mixture:
    """Return what the law of a product holds: tables of one interval, or intervals and atoms.

    Raises:
        ConvergenceError: If the density could not be computed.
    """
    places, weights = _atoms(product)
    if product.floor > 0:
        places, weights = np.append(0.0, places), np.append(product.floor, weights)
    if weights.sum() > 1 - 1e-9:
        return Mixture((), np.empty(0), places, weights / weights.sum())
    shapes = tabulate(product)
    if len(shapes) == 1 and not places[places > 0].size:
        return tables_of(shapes[0], product.floor)
    masses = np.array([shape.left.mass + shape.right.mass for shape in shapes])
    parts = [
        tables_of(normalised(shape, mass), 0.0)
        for shape, mass in zip(shapes, masses.tolist(), strict=True)
    ]
    return Mixture(tuple(parts), masses / masses.sum() * (1 - weights.sum()), places, weights)


@np.errstate(all="ignore")  # as in `held`
def outer_edges(product: Product) -> tuple[float, float] | None:
    """Return the edges of the continuous part in log lam, without its density; None without one.

    Raises:
        ConvergenceError: If an edge is not found.
    """
    if _atoms(product)[1].sum() + product.floor > 1 - 1e-9:
        return None
    left, right = _outer(product)
    return left.edge, right.edge


def _atoms(product: Product) -> tuple[Vector, Vector]:
    """Return places and weights of the atoms off 0, without those that just form."""
    places, weights = product.atoms()
    return places[weights > 0], weights[weights > 0]


def tabulate(product: Product) -> list[Shape]:
    """Return the tables of every interval of the support, ascending; masses add up to the law's.

    Raises:
        ConvergenceError: If mass or mean is wrong, or a point is not reached.
    """
    pending, done = _between_atoms(product, _outer(product)), list[Shape]()
    while pending:
        left, right = pending.pop()
        found = _interval(product, left, right)
        if isinstance(found, Shape):
            done.append(found)
        else:
            pending += _cut(product, left, right, found)
    done.sort(key=lambda shape: shape.upper)
    _check(product, done)
    return done


def _outer(product: Product) -> tuple[Chart, Chart]:
    """Return the charts from the lowest edge to the highest, not knowing of any gap.

    Below and above all of the support the resolvent is real too: those are gaps like any other.

    Raises:
        ConvergenceError: If an edge is not found.
    """
    decay, order = product.decay()
    start, E = product.start_above()
    upper = edge(product, Gap(1 + math.exp(start), E), -1)
    if decay:
        u = np.array([(1 + product.floor) / 2])
        middle = float(product.linearise(u, product.solve_real(u))[0][0])
        return _down_to_zero(Chart(-math.inf, middle, decay, order), upper)
    start, E = product.start_below()
    return _between(edge(product, Gap(product.floor - math.exp(start), E), 1), upper)


def _between(lower: Edge, upper: Edge) -> tuple[Chart, Chart]:
    middle = (lower.place + upper.place) / 2
    return Chart(lower.place, middle, 0.0, lower.order), Chart(
        upper.place, middle, 0.0, upper.order
    )


def _down_to_zero(hard: Chart, upper: Edge) -> tuple[Chart, Chart]:
    split = min(hard.split, upper.place - 1.0)
    return dataclasses.replace(hard, split=split), Chart(upper.place, split, 0.0, upper.order)


def _between_atoms(product: Product, outer: tuple[Chart, Chart]) -> list[tuple[Chart, Chart]]:
    """Return the charts of the intervals that atoms, formed or just forming, leave apart.

    The gap next to an atom may be too narrow for the samples of a density to meet it.

    Raises:
        ConvergenceError: If an edge of such a gap is not found.
    """
    pending = [outer]
    for index, place in enumerate(np.log(product.atoms()[0]).tolist()):
        left, right = pending[-1]
        for towards in (-1, 1):
            gap = beside(product, index, towards)
            away = float(product.linearise(np.array([gap.u]), gap.E[None])[0][0]) - place
            if left.edge < place < right.edge and away * towards > 0:
                pending = [*pending[:-1], *_cut(product, left, right, gap)[::-1]]
                break
    return pending


def _interval(product: Product, left: Chart, right: Chart) -> Shape | Gap:
    """Return the tables of one interval, or a point of a gap inside.

    One series per side is tried first: a smooth density needs 48 or 96 points. Then the sides are
    cut into panels, and those cut again whose last coefficients are not small: factors of few
    values leave bumps, and near-gaps, far narrower than the support.

    Raises:
        ConvergenceError: If a point is not reached, or the density diverges.
    """
    known = None
    for count in _SERIES_POINTS:
        places = [(left, left.nodes(count)), (right, right.nodes(count))]
        found = _density(product, places, known)
        if isinstance(found, Gap):
            return found
        (ours, theirs), known = found
        (low, below), (high, above) = left.side(ours), right.side(theirs)
        if max(below, above) < SERIES:
            return Shape(left.edge, right.edge, left.split, low, high, left.decay)
    values = _panelled(product, left, right, known)
    if isinstance(values, Gap):
        return values
    if min(values[0].min(), values[1].min()) <= 0:
        raise ConvergenceError(
            f"The density between log lam = {left.edge:.6g} and {right.edge:.6g} diverges at an "
            f"edge: heavy values add up to just an atom. {product.remedy}"
        )
    low, high = left.tables(values[0]), right.tables(values[1])
    return Shape(left.edge, right.edge, left.split, low, high, left.decay)


def _density(
    product: Product, places: list[tuple[Chart, Vector]], known: Samples | None = None
) -> tuple[list[Vector], Samples] | Gap:
    """Return ``density / v**order`` at points of charts, or a point of a gap that one of them met.

    Without known samples the points are reached from the negative axis; with them each starts at
    the nearest, which takes a tenth of the steps.

    Raises:
        ConvergenceError: If a point is not reached.
    """
    t = np.concatenate([chart.t(v) for chart, v in places])
    if known is None:
        u, E = continued(product, product.floor, t, np.zeros_like(t))
    else:
        nearest = known.nearest(t)
        start, target = known.t[nearest] - 1j * math.pi, t - 1j * math.pi
        # Over a bow in the upper half plane: the axis itself may cross a gap not met so far.
        # No higher than the imaginary axis of lam: pi is the negative one, where the plane ends.
        bow = target + 1j * np.minimum(np.abs(target - start), math.pi / 2)
        u, E = followed(product, known.u[nearest], known.E[nearest], start, bow)
        u, E = followed(product, u, E, bow, target)
    gap = _real_point(product, t, u, E)
    if gap is not None:
        return gap
    cuts = np.cumsum([len(v) for _, v in places])[:-1]
    parts = np.split(-u.imag / np.pi, cuts)
    smooth = [part / v**chart.order for part, (chart, v) in zip(parts, places, strict=True)]
    samples = Samples(t, u, E)
    return smooth, samples if known is None else known.with_(samples)


def _panelled(
    product: Product, left: Chart, right: Chart, known: Samples | None
) -> list[Vector] | Gap:
    """Return both sides at the nodes of the tables' pieces, from panels cut where it takes it.

    Raises:
        ConvergenceError: If a point is not reached.
    """
    charts, nodes = (left, right), fit_nodes(_FINE)
    out = [np.zeros_like(nodes), np.zeros_like(nodes)]
    panels = [(side, k / 4, (k + 1) / 4) for side in (0, 1) for k in range(4)]
    per_piece, largest = nodes.size // _FINE, 0.0
    for level in range(_LEVELS):
        places = [(charts[side], a + (b - a) * (1 + _POINTS) / 2) for side, a, b in panels]
        found = _density(product, places, known)
        if isinstance(found, Gap):
            return found
        values, known = found
        largest = max(largest, *(float(np.abs(part).max()) for part in values))
        again: list[tuple[int, float, float]] = []
        for (side, a, b), part in zip(panels, values, strict=True):
            series = _TO_SERIES @ part
            last = level == (_EDGE_LEVELS if a == 0.0 else _LEVELS) - 1
            if np.abs(series[-3:]).max() > SERIES * largest and not last:
                again += [(side, a, (a + b) / 2), (side, (a + b) / 2, b)]
            else:
                reach = slice(int(a * _FINE) * per_piece, math.ceil(b * _FINE) * per_piece)
                mine = reach.start + np.flatnonzero((nodes[reach] >= a) & (nodes[reach] <= b))
                x = (2 * nodes[mine] - a - b) / (b - a)
                out[side][mine] = chebyshev.chebval(x, series)
        panels = again
        if not panels:
            break
    return out


def _real_point(product: Product, t: Vector, u: ComplexArray, E: ComplexArray) -> Gap | None:
    """Return the middle of the longest run of samples with a real solution, or none."""
    near = np.flatnonzero(-u.imag < _REAL * np.minimum(np.abs(u), np.abs(u - 1)))
    if not near.size:
        return None
    real, places, size = newton(product, t[near], u[near].real, E[near].real, steps=12)
    close = np.abs(real - u[near]) < 10 * _REAL * np.abs(u[near])
    runs = near[(size < 1e-9) & close]
    if not runs.size:
        return None
    order = np.argsort(t)
    inside = np.isin(order, runs)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    chosen = order[(edges[2 * longest] + edges[2 * longest + 1] - 1) // 2]
    index = int(np.flatnonzero(near == chosen)[0])
    return Gap(float(real[index]), places[index])


def _cut(product: Product, left: Chart, right: Chart, gap: Gap) -> list[tuple[Chart, Chart]]:
    """Return the charts below and above a gap.

    Raises:
        ConvergenceError: If an edge of the gap does not lie inside the interval.
    """
    low, high = (edge(product, gap, towards) for towards in (-1, 1))
    if not left.edge < low.place < high.place < right.edge:
        raise ConvergenceError(
            f"A gap of the support from log lam = {low.place:.6g} to {high.place:.6g} leaves the "
            f"interval from {left.edge:.6g} to {right.edge:.6g} it was found in."
        )
    above = _between(high, Edge(right.edge, right.order))
    below = _down_to_zero(left, low) if left.decay else _between(Edge(left.edge, left.order), low)
    return [above, below]


def _check(product: Product, shapes: list[Shape]) -> None:
    """Refuse tables whose mass or mean is wrong.

    Raises:
        ConvergenceError: If either is off by more than is asked.
    """
    places, weights = _atoms(product)
    mass = product.floor + weights.sum()
    mean = weights @ np.exp(np.log(places) - product.log_mean())
    for shape in shapes:
        t, w = quadrature(shape, NODES)
        mass, mean = mass + w.sum(), mean + w @ np.exp(t - product.log_mean())
    asked = CHECK if len(shapes) == 1 else SEVERAL
    if not max(abs(mass - 1.0), abs(mean - 1.0)) < asked:
        raise ConvergenceError(
            f"The density has mass {mass:.10g} and {mean:.10g} of its mean; expected 1 to "
            f"{asked:g} over {len(shapes)} intervals. {product.remedy}"
        )
