r"""Which factors next? The answer of log c to log g, and to what the blocks before it do.

Scaling block l's branch by g multiplies its c by g^2 where nothing else changes. Two things do:
an activation behind the linear map, and the stream, which the blocks before l make larger
(a pre-norm branch then counts less). Derived here as a fit to the passes made so far:

    d log c_l = (2 + a) d log g_l - b sum_{j<l} d log(1 + c_j)
"""

import math
from collections.abc import Sequence

import numpy as np

from isometry._typing import Float, FloatArray

_PRIOR = 1e-3
"""Weight of a = b = 0 in the fit, relative to the data."""


class Search:
    """The passes made so far and the two coefficients that they show."""

    def __init__(self, targets: Sequence[float], groups: Sequence[Sequence[int]]) -> None:
        self._targets = np.array(targets)
        self._groups = groups
        self._rows: list[Float[np.ndarray, "3 groups"]] = []
        self._last: tuple[FloatArray, FloatArray] | None = None

    def factors(self, c: Sequence[float], formula: Sequence[float]) -> list[float]:
        """Return a factor per group from the blocks' measured c and the formula's factors."""
        parts, bare = np.maximum(c, 0.0), np.log(formula)
        if self._last is not None:
            before, steps = self._last
            answer = np.log(self._sums(parts) / self._sums(before))
            self._rows.append(np.stack([steps, self._growth(before, parts), answer - 2 * steps]))
        own, stream = self._fit()
        ahead = stream * self._growth(parts, self._targets)
        steps = np.clip((2 * bare + ahead) / (2 + own), bare - 2.0, bare + 2.0)
        self._last = parts, steps
        return [math.exp(step) for step in steps]

    def _sums(self, parts: Float[np.ndarray, "blocks"]) -> Float[np.ndarray, "groups"]:
        return np.array([parts[list(group)].sum() for group in self._groups])

    def _growth(
        self, before: Float[np.ndarray, "blocks"], after: Float[np.ndarray, "blocks"]
    ) -> Float[np.ndarray, "groups"]:
        """Return by how much the log of the stream grows in front of each group."""
        grown = np.cumsum(np.log1p(after) - np.log1p(before))
        return np.array([grown[group[0] - 1] if group[0] else 0.0 for group in self._groups])

    def _fit(self) -> tuple[float, float]:
        """Return a and b by least squares, within what a solution can use."""
        if not self._rows:
            return 0.0, 0.0
        steps, growth, missing = np.concatenate(self._rows[-1:], axis=1)
        design = np.stack([steps, -growth])
        square = design @ design.T
        square += (_PRIOR * np.trace(square) + 1e-12) * np.eye(2)
        a, b = np.linalg.solve(square, design @ missing)
        return float(np.clip(a, -1.5, 2.0)), float(np.clip(b, -0.5, 2.0))
