"""Gauss rules of a block's spectrum, and what few nodes do to a product of free blocks.

A block enters the product law through ``omega``, the solution of ``psi(omega) = w``, at the ``w``
of the product, and ``log lam`` of the product loses ``log omega``. So a rule that has another
``psi`` moves ``log lam`` by the difference over the derivative of ``psi``, and the distribution
function by the density times that (docs/theory.md, section 11). Few nodes will do: ``omega`` stays
the farther from the block's own support, the wider the other blocks spread the product.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isometry._typing import Float
from isometry.nn.spectrum.lanczos import Bidiagonalisation, ritz_values
from isometry.theory.laws.arguments import ComplexArray
from isometry.theory.laws.universal import UniversalLaw

_LEVELS = (0.02, 0.25, 0.5, 0.75, 0.98)
"""Levels of the product's distribution function at which a rule is judged."""
_NEGLIGIBLE = 1e-14
"""A node of less weight is a copy that rounding made; what is left of a vector is rounding."""
_STEPS = 60
_LEAST = 5e-3
"""Weight below which a node at an end of the spectrum is put together with its neighbour."""
_WIDEST, _NARROWEST = 200.0, 1e-20
"""Spreads between which the universal law stands in for the product."""


@dataclass(frozen=True, eq=False)
class GaussRule:
    """A Jacobi matrix whose eigenvalues and first components squared are nodes and weights.

    Attributes:
        diagonal: Its diagonal, in units of lam.
        beside: What is next to it, one entry fewer.
        zeros: Weight of lam = 0, which is not in the matrix.
    """

    diagonal: Float[np.ndarray, "n"]
    beside: Float[np.ndarray, "n-1"]
    zeros: float = 0.0

    @classmethod
    def pooled(cls, bidiagonal: Bidiagonalisation, zeros: float = 0.0) -> "GaussRule":
        """Return the rule of the mean over probes, with as many nodes as one probe has."""
        ritz = ritz_values(bidiagonal)
        weights = ritz.weights / len(ritz.theta)
        return cls.of((ritz.theta**2).ravel(), weights.ravel(), ritz.theta.shape[1], zeros)

    @classmethod
    def of(
        cls,
        values: Float[np.ndarray, "m"],
        weights: Float[np.ndarray, "m"],
        nodes: int,
        zeros: float = 0.0,
    ) -> "GaussRule":
        """Return the rule with the first ``2 nodes`` moments of values with weights."""
        kept = weights > _NEGLIGIBLE
        values, weights = values[kept], weights[kept]
        if not len(values):
            return cls(np.zeros(1), np.empty(0))
        basis = np.sqrt(weights / weights.sum())[None]
        diagonal: list[float] = []
        beside: list[float] = []
        for _ in range(nodes):
            v = values * basis[-1]
            diagonal.append(float(v @ basis[-1]))
            for _ in range(2):  # once leaves what cancels
                v = v - (basis @ v) @ basis
            beside.append(float(np.linalg.norm(v)))
            if beside[-1] <= 100 * _NEGLIGIBLE * float(values.max()):
                break
            basis = np.vstack([basis, v / beside[-1]])
        return cls(np.array(diagonal), np.array(beside[:-1]), zeros)

    @property
    def nodes(self) -> int:
        """Number of nodes off 0."""
        return len(self.diagonal)

    @cached_property
    def solved(self) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
        """The nodes, ascending, and their weights; 0 is one where it has weight."""
        return self._solved(self.nodes)

    def lumped(self) -> "GaussRule":
        """Return the rule with the light nodes at its ends put together, at their means.

        A node of weight p fills only 4 sqrt(p) of the width that the other blocks bring, so a
        product of many light ones has as many gaps. Moving a weight p moves the distribution
        function of the product by p at most.
        """
        values, weights = self._solved(self.nodes, off_zero=True)
        upto, beyond = np.cumsum(weights), np.cumsum(weights[::-1])[::-1]
        labels = np.ceil(upto / _LEAST)
        labels[beyond < upto] = -np.ceil(beyond / _LEAST)[beyond < upto]
        _, index = np.unique(labels, return_inverse=True)
        mass = np.bincount(index, weights=weights)
        means = np.bincount(index, weights=weights * values) / mass
        return GaussRule.of(means, mass, len(mass), self.zeros)

    @cached_property
    def centre(self) -> tuple[float, float]:
        """The mean of lam, and how wide lam is: the variance of log lam, or over the squared mean.

        The smaller of the two: few values far above all others make the second large, few far
        below the first.
        """
        values, weights = self.solved
        mean = float(weights @ values)
        if not mean:
            return 0.0, 0.0
        relative = float(weights @ (values / mean - 1) ** 2)
        logs, known = np.log(values[values > 0]), weights[values > 0] / weights[values > 0].sum()
        return mean, min(relative, float(known @ (logs - known @ logs) ** 2))

    def error(self, w: ComplexArray) -> float:
        """Return what the last node matters: the shift of the product's distribution function.

        Args:
            w: Points of the product, from :func:`bulk_points`.

        Returns:
            The largest over the points; infinite where it is not known.
        """
        if not len(w):
            return 0.0
        if self.nodes < 2 or not self.centre[0]:
            return math.inf
        omega, slope = self._inverse(w)
        psi, _ = _psi(omega, *self._solved(self.nodes - 1))
        shift = np.abs((psi - w) / slope) * np.abs(w.imag) / np.pi
        return float(np.where(np.isfinite(shift), shift, np.inf).max())

    def _solved(self, nodes: int, *, off_zero: bool = False) -> tuple[np.ndarray, np.ndarray]:
        beside = self.beside[: nodes - 1]
        matrix = np.diag(self.diagonal[:nodes]) + np.diag(beside, 1) + np.diag(beside, -1)
        values, vectors = np.linalg.eigh(matrix)
        values, weights = np.maximum(values, 0.0), vectors[0] ** 2
        if off_zero or not self.zeros:
            return values, weights
        return np.append(0.0, values), np.append(self.zeros, (1 - self.zeros) * weights)

    def _inverse(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return omega with ``psi(omega) = w`` and d psi / d log omega; NaN where not found."""
        mean, spread = self.centre
        log = np.log(w / (1 + w)) - math.log(mean) - spread * w
        step, slope = np.full_like(w, np.inf), w
        with np.errstate(all="ignore"):  # a wild step is not found
            for _ in range(_STEPS):
                psi, slope = _psi(np.exp(log), *self.solved)
                step = (psi - w) / slope
                log = log - step * np.minimum(1.0, 0.5 / np.abs(step))
            return np.where(np.abs(step) < 1e-9, np.exp(log), np.nan), slope


def _psi(
    omega: np.ndarray, values: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return psi and its derivative by log omega."""
    with np.errstate(all="ignore"):  # NaN, where omega was not found
        x = omega[:, None] * values
        share = x / (1 - x)
    return share @ weights, (share * (1 + share)) @ weights


def total_spread(rules: Sequence[GaussRule]) -> float:
    """Return the sum over blocks of how wide their lam are."""
    return math.fsum(rule.centre[1] for rule in rules)


def bulk_points(spread: float) -> ComplexArray:
    """Return ``w`` in the bulk of the universal law of a spread; none where nothing spreads.

    It stands in for the product of the blocks, whose spectrum is about as wide.
    """
    if spread < _NARROWEST:
        return np.empty(0, dtype=np.complex128)
    law = UniversalLaw(min(spread, _WIDEST) / 2)
    lam = law.icdf(np.array(_LEVELS))
    return np.asarray(lam * law.cauchy_transform(lam * (1 + 1e-9j), method="formula") - 1)
