"""Which singular values leave the bulk? The roots of a determinant.

A layer is free noise plus rank-one terms of the forward pass (:mod:`isometry.theory.overlaps`), so
s is an outlier where the determinant of :mod:`isometry.theory.rank_one` vanishes. With ``<D^2>`` in
place of each entry's own D^2 it is cheap and finds the roots; the one that knows the entries then
moves each of them by its O(1/L).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from isometry._typing import Float, FloatArray
from isometry.errors import ConvergenceError
from isometry.theory.noise_chain import edge, log_singular_value, mu_of
from isometry.theory.overlaps import Entries, Overlaps, membership, wide_entries, wide_overlaps
from isometry.theory.propagation import ResNetSpec, Signal
from isometry.theory.rank_one import NOTHING, of_entries, of_overlaps
from isometry.theory.roots import bracketed_root

_SPACING = 0.17  # of z: near the edge s - edge grows by a third from point to point, far off by 9 %
_NO_NOISE = 1e-12  # c below which the layers are the skip, and their terms no larger
_CLOSE = 1e-7  # of z, and so of log s
_AT_ONCE = 2_000_000  # elements of a batch of matrices
_ELEMENTS = 100_000  # depth times the entries that are drawn to learn what their own D^2 does
_LADDER = 40, 80, 120  # groups that more layers are put into: the determinant costs their cube
_FEWEST, _MOST = 500, 4_000  # entries
_WIDENED = 5  # times that a bracket is doubled: from 2 % to 64 % of |mu| - 1


class Root(NamedTuple):
    """An outlier: side of the bulk (1 above, -1 beneath), z on the chart of that side, log s."""

    side: int
    z: float
    log_s: float


def roots(of: Overlaps) -> list[Root]:
    """Return every simple root outside the bulk, with ``<D^2>`` for D^2, ascending in s.

    Args:
        of: Inner products of the layers' rank-one terms.

    Returns:
        The roots; two within a third of their distance to the edge may hide each other.
    """
    if of.alpha.sum() < _NO_NOISE:
        return []
    found: list[Root] = []
    for side in (-1, 1):
        zs = _points(of, side)
        if not len(zs):
            continue
        parts = np.array_split(zs, 1 + len(zs) * 4 * len(of.alpha) ** 2 // _AT_ONCE)
        signs = np.concatenate([of_overlaps(of, mu_of(part, side))[0] for part in parts])
        for i in np.flatnonzero(signs[1:] * signs[:-1] < 0.0):
            found.append(_root(of, side, zs[i + 1], zs[i]))
    return sorted(found, key=lambda root: root.log_s)


def refined(root: Root, entries: Entries) -> float | None:
    """Return by how much every entry's own D^2 moves log s of a root.

    Args:
        root: A root for the mean of D^2.
        entries: The entries that it was found for, or a sample of their distribution: the move is
            the distance of two roots of theirs, so that the draw itself cancels.

    Returns:
        The move, or None if the root is gone: it was at the edge of the bulk.
    """
    of = entries.overlaps()

    def mean(z: float) -> float:
        return _value(*(float(part[0]) for part in of_overlaps(of, _mu(root.side, z))))

    def own(z: float) -> float:
        return _value(*of_entries(entries, float(_mu(root.side, z)[0]))[:2])

    start = _near(mean, root.z)
    end = None if start is None else _near(own, start)
    if start is None or end is None:
        return None
    log_s = of_entries(entries, float(_mu(root.side, end)[0]))[2]
    return log_s - float(log_singular_value(of.alpha, _mu(root.side, start))[0])


def wide_outliers(spec: ResNetSpec, signal: Signal, *, m1: float, m2: float) -> list[float]:
    """Return log s over ``|skip|^depth`` of every outlier in the wide limit, ascending.

    Args:
        spec: The network; its skip is not 0.
        signal: Its signal.
        m1: Mean of the entries of x_0.
        m2: Mean square of the entries of x_0.

    Returns:
        The logarithms.
    """
    count = max(_FEWEST, min(_MOST, _ELEMENTS // spec.depth))
    drawn = wide_entries(spec, signal, m1=m1, m2=m2, count=count, seed=0)
    return outliers_of(wide_overlaps(spec, signal, m1=m1, m2=m2), drawn)


def outliers_of(of: Overlaps, entries: Entries) -> list[float]:
    """Return log s of every outlier, with what each entry's own D^2 changes, ascending.

    Args:
        of: The inner products.
        entries: The entries that these are means over, or a sample of their distribution: what
            their own D^2 changes is the difference of two of their roots, so the draw cancels.

    Returns:
        The logarithms. More than 120 layers are put together into 40, 80 and 120 groups, and a
        parabola in the mean square of their sizes is read off at single layers.
    """
    depth = len(of.alpha)
    if depth <= _LADDER[-1]:
        return _outliers_of(of, entries)
    at = [_outliers_of(of.merged(groups), entries.merged(groups)) for groups in _LADDER]
    if len({len(logs) for logs in at}) > 1:  # one of them is about to leave or to join the bulk
        return at[-1]
    h = [(membership(depth, groups).sum(axis=1) ** 2).sum() / depth**2 for groups in _LADDER]
    return [
        float(np.polyval(np.polyfit(h, logs, 2), 1.0 / depth)) for logs in zip(*at, strict=True)
    ]


def _outliers_of(of: Overlaps, entries: Entries) -> list[float]:
    moves = [(root.log_s, refined(root, entries)) for root in roots(of)]
    return [log_s + move for log_s, move in moves if move is not None]


def _points(of: Overlaps, side: int) -> FloatArray:
    """Return the z to look at, from the edge outwards, as far as a root can lie."""
    size = np.diag(of.x_x)
    per = np.divide(np.diag(of.u_u), size, where=size > NOTHING, out=np.zeros_like(size))
    reach = float(np.log1p(np.sqrt(per) + 2.0 * np.sqrt(of.alpha)).sum())
    if side < 0 and float(of.alpha.max()) >= 1.0:  # a layer of which nothing keeps s off 0
        return np.empty(0)
    zs = edge(of.alpha, side) - np.arange(_SPACING / 100.0, 2.0 * reach + 8.0, _SPACING)
    return zs[np.abs(log_singular_value(of.alpha, mu_of(zs, side))) <= reach + 2.0 * _SPACING]


def _root(of: Overlaps, side: int, low: float, high: float) -> Root:
    """Return the root between two z of opposite signs."""

    def value(z: float) -> float:
        return _value(*(float(part[0]) for part in of_overlaps(of, _mu(side, z))))

    z = bracketed_root(value, low, high, xtol=_CLOSE)
    return Root(side, z, float(log_singular_value(of.alpha, _mu(side, z))[0]))


def _near(value: Callable[[float], float], z: float) -> float | None:
    """Return a root near z, or None: nowhere near does the sign change."""
    width = 0.02
    try:
        here = value(z)
        for _ in range(_WIDENED):
            for other in (z - width, z + width):
                if value(other) * here <= 0.0:
                    return bracketed_root(value, z, other, xtol=_CLOSE)
            width *= 2.0
    except ConvergenceError:  # inside the bulk no noise stands for the entries'
        return None
    return None


def _mu(side: int, z: float) -> Float[np.ndarray, "1"]:
    return mu_of(np.array([z]), side)


def _value(sign: float, log_abs: float) -> float:
    return sign * math.exp(min(log_abs, 50.0))
