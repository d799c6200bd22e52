"""A measured spectrum: squared singular values ``lam = s^2`` with weights.

The weights sum to 1, so that a spectrum is a law as well, a discrete one: ``cdf`` and ``icdf`` are
named as those of the laws in :mod:`isometry.theory.laws`. Where the values come from (a dense
decomposition, a few nodes of a quadrature, a file) is not this module's business.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isometry._checks import check_array, check_integer, check_real
from isometry._result import Result, drawing
from isometry._typing import Axes, Checked, DrawnLaw, Float, FloatArray, Integer, Numbers, Reals

_LARGEST_S = 1e154


@dataclass(frozen=True, eq=False)
class Spectrum(Result):
    """Hold squared singular values ``lam = s^2`` with weights, in ascending order.

    Args:
        values: The lam, finite and >= 0; any order, they are sorted with their companions.
        weights: Weight of each value, >= 0, summing to 1; equal weights without.
        standard_error: Standard error of the cumulative weight at each value, if known.
        provenance: Where the values come from, for reports.
        dimension: Number N of singular values the spectrum stands for, worth giving where the
            values are a few weighted nodes (a Lanczos quadrature); 0 takes the number of
            values, or of equal weights that would be as uneven.
        unresolved: Levels (low, high) of the cdf between which the values are known no better
            than to lie below the value at ``high``: what a Lanczos quadrature has not told
            apart. Equal ends mean none.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If a value or weight is out of range, the shapes differ, there is no
            value, or the weights do not sum to 1 within 1e-6.

    Examples:
        >>> Spectrum(np.array([4.0, 1.0, 0.25])).condition_number()
        4.0
    """

    values: Checked[FloatArray]
    weights: Checked[FloatArray] = None  # pyright: ignore[reportAssignmentType]
    standard_error: Checked[FloatArray | None] = None
    provenance: str = "given"
    dimension: Checked[int] = 0
    unresolved: tuple[float, float] = (0.0, 0.0)

    if TYPE_CHECKING:

        def __init__(
            self,
            values: Reals,
            weights: Reals | None = None,
            standard_error: Reals | None = None,
            provenance: str = "given",
            dimension: Integer = 0,
            unresolved: tuple[float, float] = (0.0, 0.0),
        ) -> None: ...

    def __post_init__(self) -> None:
        values = _vector("values", self.values, None)
        order = np.argsort(values, kind="stable")
        weights = np.full(len(values), 1.0 / len(values))
        if self.weights is not None:  # pyright: ignore[reportUnnecessaryComparison]
            weights = _normalised(_vector("weights", self.weights, len(values)))[order]
        if self.standard_error is not None:
            error = _vector("standard_error", self.standard_error, len(values))[order]
            object.__setattr__(self, "standard_error", error)
        size = check_integer("dimension", self.dimension, minimum=0)
        low, high = (check_real("unresolved", level) for level in self.unresolved)
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"`unresolved` is {self.unresolved}; expected levels 0 <= low <= high <= 1."
            )
        object.__setattr__(self, "unresolved", (low, high))
        object.__setattr__(self, "values", values[order])
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "dimension", size or round(1.0 / float(np.sum(weights**2))))

    def plot(self, ax: Checked[Axes | None] = None, *, law: Checked[DrawnLaw | None] = None) -> Any:
        """Draw a histogram of log lam against s on a logarithmic axis, outliers as triangles.

        Args:
            ax: Matplotlib axes; those of a new figure without.
            law: A law of lam to draw over it.

        Returns:
            The axes.

        Raises:
            ImportError: If matplotlib is not installed.
            ValueError: If every value is 0.
        """
        room = drawing()
        ax = room.axes_or_new(ax)
        room.plot_spectrum(ax, self, law)
        return ax

    @classmethod
    def from_matrix(cls, J: Reals, *, provenance: str = "dense") -> "Spectrum":
        """Return the spectrum of ``J J^T`` for a real matrix, by singular values.

        Args:
            J: The matrix; values of s below about ``eps * s_max`` are rounding noise.
            provenance: Where the matrix comes from.

        Returns:
            All ``min(J.shape)`` values with equal weights.

        Raises:
            TypeError: If ``J`` is not numeric.
            ValueError: If ``J`` is not a finite matrix.
        """
        matrix = check_array("J", J)
        if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
            raise ValueError(f"`J` has shape {matrix.shape}; expected a finite, non-empty matrix.")
        s = np.linalg.svd(matrix, compute_uv=False)
        if not s.max() < _LARGEST_S:
            raise ValueError(
                f"`J` has a singular value of {s.max():g}; expected values below {_LARGEST_S:g}, "
                "whose squares float64 holds. Rescale it."
            )
        return cls(s**2, provenance=provenance)

    def cdf(self, lam: Reals) -> Numbers:
        """Return the weight of the values up to and including ``lam``."""
        total = np.concatenate([[0.0], np.cumsum(self.weights)])
        at = np.searchsorted(self.values, check_array("lam", lam), side="right")
        return np.asarray(total[at])

    def icdf(self, p: Reals) -> Numbers:
        """Return the smallest value whose cumulative weight reaches ``p`` in [0, 1].

        Raises:
            TypeError: If ``p`` is not numeric.
            ValueError: If an entry of ``p`` is outside [0, 1] or in the unresolved part.
        """
        levels = check_array("p", p, minimum=0.0)
        if (levels > 1).any():
            raise ValueError(f"`p` contains {levels.max():g}; expected levels in [0, 1].")
        if not self.resolves(levels).all():
            low, high = self.unresolved
            raise ValueError(
                f"`p` contains {levels[~self.resolves(levels)].flat[0]:g}; expected levels outside "
                f"({low:.3g}, {high:.3g}), which are unresolved. Measure the spectrum with more "
                "products (`num_matvecs=`) or dense (`method='dense'`)."
            )
        index = np.searchsorted(np.cumsum(self.weights), levels - 1e-12)
        return np.asarray(self.values[np.minimum(index, len(self.values) - 1)])

    def resolves(self, p: Reals) -> np.ndarray:
        """Return whether the values at the levels ``p`` are known, as a boolean array."""
        low, high = self.unresolved
        levels = check_array("p", p)
        known = (levels < low) | (levels >= high - 1e-12) | (low == high)
        return np.asarray(known, dtype=bool)

    def above_unresolved(self) -> np.ndarray:
        """Return which values lie above the unresolved part, as a boolean array; all without."""
        low, high = self.unresolved
        middle = np.cumsum(self.weights) - np.asarray(self.weights) / 2
        above = middle >= high if high > low else np.ones(len(middle), dtype=bool)
        above[-1] = True
        return above

    def singular_values(self) -> Float[np.ndarray, "n"]:
        """Return the s = sqrt(lam), ascending."""
        return np.sqrt(self.values)

    def condition_number(self) -> float:
        """Return s_max / s_min, outliers included; infinite if a value is 0.

        Raises:
            ValueError: If the smallest value is unresolved.
        """
        if float(self.values[0]) > 0 and not self.resolves(0.0):
            raise ValueError(
                f"`unresolved` is {self.unresolved}, so the smallest singular value is unknown; "
                "expected a resolved spectrum. Measure it dense (`method='dense'`)."
            )
        low, high = float(self.values[0]), float(self.values[-1])
        return math.sqrt(high) / math.sqrt(low) if low > 0 else math.inf

    def __repr__(self) -> str:
        low, high = self.values[0], self.values[-1]
        span = f"{len(self.values)} values of lam in [{low:.4g}, {high:.4g}]"
        low, high = self.unresolved
        gap = f", levels {low:.3g} to {high:.3g} unresolved" if high > low else ""
        return f"Spectrum({span}, {self.provenance}{gap})"


def _vector(name: str, given: Any, length: int | None) -> Float[np.ndarray, "n"]:
    array = check_array(name, given, minimum=0.0)
    if array.ndim != 1 or not array.size or (length is not None and len(array) != length):
        want = "(n,) with n >= 1" if length is None else f"({length},), that of `values`"
        raise ValueError(f"`{name}` has shape {array.shape}; expected {want}.")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` contains inf; expected finite numbers >= 0.")
    return array


def _normalised(weights: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    total = float(weights.sum())
    if abs(total - 1) > 1e-6:
        raise ValueError(f"`weights` sum to {total!r}; expected 1. Divide them by their sum.")
    return weights / total
