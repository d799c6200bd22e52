"""Factors of a product with fewer values, where the other factors blur what is lost."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from isometry.theory.laws.piecewise import Vector

Rule: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Values of lam, ascending, and their weights."""

MOST, ALL = 64, 2000
"""Values of a factor, and of all factors, that are taken as they are; more are put together."""

_LEAST = 1 / 128


def condensed(rules: Sequence[tuple[Rule, int]]) -> list[tuple[Rule, int]]:
    """Return factors of fewer values where the others blur what is lost.

    Values closer in log lam than half the blur, the standard deviation that the other
    factors bring, are put together: two points keep their moments of order 0 to 3, so that the
    error is of fourth order in the half.
    """
    if sum(values.size for (values, _), _ in rules) <= ALL:
        return list(rules)
    spreads = [float(w @ (t / (w @ t) - 1) ** 2) for (t, w), _ in rules]
    total = sum(spread * count for spread, (_, count) in zip(spreads, rules, strict=True))
    out: list[tuple[Rule, int]] = []
    for ((values, weights), count), spread in zip(rules, spreads, strict=True):
        width = math.sqrt(max(total - spread, 0.0)) / 2
        few = values.size <= MOST or width == 0.0
        out.append(((values, weights) if few else _in_bins(values, weights, width), count))
    return out


def _in_bins(values: Vector, weights: Vector, width: float) -> Rule:
    """Return two points for every stretch of ``width`` in log lam; zeros stay apart.

    Below the median a stretch holds at least 1/128 of the mass. The smallest singular values of a
    measured block lie so far apart, in log lam, that each would be an interval of its own.
    """
    zero = values == 0.0
    points = [(np.zeros(1), weights[zero].sum()[None])] if zero.any() else []
    values, weights = values[~zero], weights[~zero]
    logs, below = np.log(values), np.cumsum(weights)
    count, total, start = int(logs.size), float(weights.sum()), 0
    while start < count:
        reach = float(logs[start]) + width
        end = int(np.searchsorted(logs, reach, side="right"))
        if float(below[start]) < total / 2:
            asked = float(below[start] - weights[start]) + _LEAST
            end = max(end, int(np.searchsorted(below, asked, side="left")) + 1)
        points.append(_two_points(values[start:end], weights[start:end]))
        start = end
    return np.concatenate([t for t, _ in points]), np.concatenate([w for _, w in points])


def _two_points(values: Vector, weights: Vector) -> Rule:
    """Return the Gauss rule of two points; one point where the values hardly differ."""
    mass = weights.sum()
    mean = weights @ values / mass
    spread = math.sqrt(weights @ (values - mean) ** 2 / mass)
    if spread < 1e-9 * mean:
        return np.array([mean]), np.array([mass])
    skew = weights @ ((values - mean) / spread) ** 3 / mass
    roots = skew / 2 + np.array([-1, 1]) * math.sqrt(1 + skew**2 / 4)
    shares = np.array([roots[1], -roots[0]]) / (roots[1] - roots[0])
    return mean + spread * roots, mass * shares
