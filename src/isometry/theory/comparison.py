"""How far is a measured spectrum from a law? Distances of the bulk, edges, and what left it.

A spectrum is a set of squared singular values ``lam = s^2`` with weights. The bulk is compared by
the Kolmogorov-Smirnov distance and by the Wasserstein distance in log lam; a value that stands
apart from the bulk beyond a predicted edge is an outlier: the law says nothing about it, and
one such value ruins every raw mean. No network and no activation appear here.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from isometry._checks import check_integer
from isometry._result import Drawn, Result
from isometry._typing import Float, Integer
from isometry.theory.laws import SingularValueLaw, SpectralLaw
from isometry.theory.spectrum import Spectrum

_APART = 2.0  # edge spacings beyond the edge, and of gap, that make an outlier
_MOST = 0.1  # largest weight on one side that can be called outliers
_SLACK = 1e-8  # relative: rounding next to an atom of the law is not a distance
_TINY = 5e-324


@dataclass(frozen=True, eq=False)
class Comparison(Result, Drawn):
    """What :func:`compare` found; edges are values of ``lam = s^2``.

    Where the spectrum says that its lower part is unresolved, nothing here is about that part: the
    distances are those above it, no outliers lie in it or below, and the lower edge is None.

    Attributes:
        ks: Kolmogorov-Smirnov distance of the bulk (the values without the outliers).
        ks_all: The same with the outliers.
        wasserstein_log: Wasserstein-1 distance of the bulk in log lam, zeros left out.
        edges: The law's edges.
        measured_edges: Smallest positive (None where unresolved) and largest value of the bulk.
        outlier_lam: The lam that left the bulk, ascending, below and above; as many as the
            weight beyond the bulk stands for.
        vanishing: Weight of the values that are known to be 0; where the law has an atom at 0, of
            those below ``(N eps)^2`` times the largest too, which are what rounding leaves of 0.
        resolution: Half the largest weight off zero: no law is closer to the bulk than this.
        unresolved: Weight of the part that is not resolved.
        dimension: Number of singular values the spectrum stands for.
    """

    ks: float
    ks_all: float
    wasserstein_log: float
    edges: tuple[float, float]
    measured_edges: tuple[float | None, float]
    outlier_lam: Float[np.ndarray, "k"]
    vanishing: float
    resolution: float
    unresolved: float
    dimension: int

    @property
    def outlier_singular_values(self) -> Float[np.ndarray, "k"]:
        """The outliers as singular values s."""
        return np.sqrt(self.outlier_lam)

    @property
    def bulk_condition_number(self) -> float | None:
        """The largest over the smallest singular value of the bulk; None where unresolved."""
        low, high = self.measured_edges
        return None if low is None else math.sqrt(high / low)

    @property
    def consistent(self) -> bool:
        """Whether the bulk is as close to the law as random matrices of the law are."""
        return self.unresolved == 0 and self.ks <= ks_tolerance(self.dimension) + self.resolution

    def _draw(self, room: Any, ax: Any) -> None:
        """Draw the bulk's two spans in s, the law's and the measured one, and the outliers."""
        room.plot_spans(ax, self)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row: the distances, predicted and measured edges, outliers."""
        return [
            {
                "ks": self.ks,
                "ks_all": self.ks_all,
                "wasserstein_log": self.wasserstein_log,
                "lam_-": self.edges[0],
                "measured lam_-": self.measured_edges[0],
                "lam_+": self.edges[1],
                "measured lam_+": self.measured_edges[1],
                "outliers": len(self.outlier_lam),
                "consistent": self.consistent,
            }
        ]


def compare(spectrum: Spectrum, law: SpectralLaw) -> Comparison:
    """Measure how far a spectrum is from a law, outliers apart.

    A value is an outlier if it lies more than two edge spacings beyond an edge of the law and
    is separated from the rest by a gap of more than two edge spacings and more than the span of
    the next three values. The edge spacing is the distance in log lam from the edge to the level
    beyond which the law expects one of the N values; it shrinks like N^(-2/3). Values that fill
    the region beyond the edge without a gap mean a wrong law, so they stay in the bulk, and so
    does anything that carries more than a tenth of the weight. Values are counted by weight, N to
    the whole, so that a few weighted nodes give the outliers that all N values give.

    Args:
        spectrum: The measured values of lam.
        law: A law of lam.

    Returns:
        Distances, predicted and measured edges, outliers.

    Raises:
        TypeError: If ``spectrum`` is not a Spectrum or ``law`` not a law.
        ValueError: If every value is 0.

    Notes:
        The Wasserstein distance is integrated with at least 2,000 quantiles: 1e-3 relative.

    References:
        Derived here.
    """
    _check_pair(spectrum, law)
    values = _without_noise(spectrum, law)
    weights, size = spectrum.weights, spectrum.dimension
    if not values[-1] > 0:
        raise ValueError("`spectrum` has only zeros; expected some lam > 0. Is J itself 0?")
    low, high = (float(edge) for edge in law.support())
    known = spectrum.above_unresolved()
    gap = spectrum.unresolved[1] - spectrum.unresolved[0]
    keep = _bulk(values, weights, law, size, resolved=gap == 0)
    bulk, bulk_weights = values[keep], weights[keep] / weights[keep].sum()
    positive = bulk > 0
    kept = known[keep]
    kept[-1] = True  # the largest is always known
    sides = slice(0, keep.start), slice(keep.stop, len(values))
    return Comparison(
        ks=_ks(bulk, bulk_weights, law, kept),
        ks_all=_ks(values, weights, law, known),
        wasserstein_log=_wasserstein_log(
            bulk[positive], bulk_weights[positive], law, kept[positive]
        ),
        edges=(low, high),
        measured_edges=(float(bulk[positive][0]) if gap == 0 else None, float(bulk[-1])),
        outlier_lam=np.concatenate(
            [_counted(values[x][known[x]], weights[x][known[x]], size) for x in sides]
        ),
        vanishing=float(weights[values == 0].sum()),
        resolution=float(bulk_weights[positive].max() / 2),
        unresolved=gap,
        dimension=size,
    )


def ks_tolerance(dimension: Integer) -> float:
    """Return the KS distance that a random matrix of the law itself stays below.

    Args:
        dimension: Number N of singular values, at least 1.

    Returns:
        ``6 / N``: eigenvalues are rigid, so the distance falls like 1/N and not 1/sqrt(N).

    Raises:
        TypeError: If ``dimension`` is not an integer.
        ValueError: If it is below 1.

    Notes:
        Measured with matrices of :mod:`isometry.theory.ensembles`, depth 100: ``N * KS`` was
        2.1, 2.3, 2.7 and 3.1 on average at N = 50, 100, 200 and 400 and at most 3.7 in 185
        draws (c from 0.1 to 4). At N = 400 a c that is 10 % wrong gave 8.6 or more. A network
        adds the fluctuation of its c, a few per cent at that width, and 1/depth.
    """
    return 6.0 / check_integer("dimension", dimension, minimum=1)


def _check_pair(spectrum: object, law: object) -> None:
    if not isinstance(spectrum, Spectrum):
        raise TypeError(
            f"`spectrum` is a {type(spectrum).__name__}; expected a Spectrum. "
            "Wrap values of lam = s^2 as Spectrum(values)."
        )
    if not isinstance(law, SpectralLaw) or isinstance(law, SingularValueLaw):
        raise TypeError(
            f"`law` is a {type(law).__name__}; expected a law of lam = s^2, such as UniversalLaw."
        )


def _log(lam: Any) -> Any:
    return np.log(np.maximum(lam, _TINY))


def _bulk(
    values: Float[np.ndarray, "n"],
    weights: Float[np.ndarray, "n"],
    law: SpectralLaw,
    dimension: int,
    *,
    resolved: bool,
) -> slice:
    """Return the range of the values that are not outliers; all below where that is unresolved."""
    low, high = law.log_support()
    atom = _atom_at_zero(law)
    level = min(1.0 / dimension, 0.5) * (1.0 - atom)  # of the continuous part
    x = _log(values)
    above = high - float(law.log_icdf(1.0 - level))
    stop = len(x) - _num_outliers(x, weights, high, above, dimension)
    start = 0
    if low > -math.inf and resolved:
        below = float(law.log_icdf(atom + level)) - low
        start = _num_outliers(-x[::-1], weights[::-1], -low, below, dimension)
    return slice(start, stop) if values[stop - 1] > 0 else slice(0, len(values))


def _without_noise(spectrum: Spectrum, law: SpectralLaw) -> Float[np.ndarray, "n"]:
    """Return the values, 0 where a law with an atom there is met by what rounding left of it."""
    values = spectrum.values
    if not _atom_at_zero(law):
        return values
    # a dense decomposition returns s below about N eps s_max in place of 0
    least = (spectrum.dimension * np.finfo(np.float64).eps) ** 2 * values[-1]
    return np.where(values < least, 0.0, values)


def _atom_at_zero(law: SpectralLaw) -> float:
    places, masses = law.atoms()
    return float(masses[places == 0.0].sum())


def _num_outliers(
    x: Float[np.ndarray, "n"],
    weights: Float[np.ndarray, "n"],
    edge: float,
    spacing: float,
    dimension: int,
) -> int:
    """Return how many of the largest ``x`` stand apart beyond ``edge``."""
    spacing = max(spacing, _SLACK)
    index = np.arange(1, len(x))
    gap = x[1:] - x[:-1]
    upto = np.cumsum(weights)  # the third of the N values below x[:-1], by weight
    third = np.searchsorted(upto, upto[:-1] - (3 + _SLACK) / dimension, side="right")
    span = x[:-1] - x[np.minimum(third, index - 1)]
    apart = (x[1:] > edge + _APART * spacing) & (gap > np.maximum(_APART * spacing, span))
    apart &= np.cumsum(weights[::-1])[::-1][1:] <= _MOST
    return len(x) - int(index[apart][0]) if apart.any() else 0


def _counted(
    values: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n"], dimension: int
) -> Float[np.ndarray, "k"]:
    """Return as many values as the weight of the nodes stands for, at least one if there is any."""
    if not len(values):
        return values
    count = max(round(float(weights.sum()) * dimension), 1)
    upto = np.cumsum(weights) / weights.sum()
    return values[np.searchsorted(upto, (np.arange(count) + 0.5) / count)]


def _ks(
    values: Float[np.ndarray, "n"],
    weights: Float[np.ndarray, "n"],
    law: SpectralLaw,
    known: np.ndarray,
) -> float:
    """Return the largest distance of the distribution functions, at the values that are known."""
    after = np.cumsum(weights)
    over = after - law.cdf(values * (1 + _SLACK))
    # The law's mass strictly below a value: at 0 an atom of the law is not below it.
    below = np.where(values > 0.0, law.cdf(values * (1 - _SLACK)), 0.0)
    under = below - (after - weights)
    return float(max(over[known].max(), under[known].max(), 0.0))


def _wasserstein_log(
    values: Float[np.ndarray, "n"],
    weights: Float[np.ndarray, "n"],
    law: SpectralLaw,
    known: np.ndarray,
) -> float:
    """Return the mean of |log value - log quantile| over levels of known values off zero."""
    atom = _atom_at_zero(law)
    if atom >= 1.0:
        return math.inf
    weights = weights / weights.sum()
    parts = max(4, math.ceil(2048 / len(values)))
    inside = (np.arange(parts) + 0.5) / parts
    p = (np.cumsum(weights) - weights)[:, None] + weights[:, None] * inside
    quantiles = law.log_icdf(atom + (1.0 - atom) * np.clip(p, 0.0, 1.0))
    distance = np.abs(_log(values)[:, None] - quantiles).mean(axis=1)
    return float(np.average(distance, weights=weights * known))
