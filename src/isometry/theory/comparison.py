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
from isometry._result import Result
from isometry._typing import Float, Integer
from isometry.theory.laws import SingularValueLaw, SpectralLaw
from isometry.theory.spectrum import Spectrum

_APART = 2.0  # edge spacings beyond the edge, and of gap, that make an outlier
_MOST = 0.1  # largest weight on one side that can be called outliers
_SLACK = 1e-8  # relative: rounding next to an atom of the law is not a distance
_TINY = 5e-324


@dataclass(frozen=True, eq=False)
class Comparison(Result):
    """What :func:`compare` found; every edge and outlier is a value of ``lam = s^2``.

    Attributes:
        ks: Kolmogorov-Smirnov distance of the bulk (the values without the outliers).
        ks_all: The same with the outliers.
        wasserstein_log: Wasserstein-1 distance of the bulk in log lam, zeros left out.
        edges: The law's edges.
        measured_edges: Smallest positive and largest value of the bulk.
        outliers: The values that left the bulk, ascending, below and above.
        vanishing: Weight of the values that are 0; where the law has an atom at 0, of those below
            ``(N eps)^2`` times the largest too, which are what rounding leaves of 0.
        resolution: Half the largest weight: no law is closer to the bulk than this.
        dimension: Number of singular values the spectrum stands for.
    """

    ks: float
    ks_all: float
    wasserstein_log: float
    edges: tuple[float, float]
    measured_edges: tuple[float, float]
    outliers: Float[np.ndarray, "k"]
    vanishing: float
    resolution: float
    dimension: int

    @property
    def outliers_s(self) -> Float[np.ndarray, "k"]:
        """The outliers as singular values."""
        return np.sqrt(self.outliers)

    @property
    def consistent(self) -> bool:
        """Whether the bulk is as close to the law as random matrices of the law are."""
        return self.ks <= ks_tolerance(self.dimension) + self.resolution

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
                "outliers": len(self.outliers),
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
    does anything that carries more than a tenth of the weight.

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
    values, weights = _without_noise(spectrum, law), spectrum.weights
    if not values[-1] > 0:
        raise ValueError("`spectrum` has only zeros; expected some lam > 0. Is J itself 0?")
    low, high = (float(edge) for edge in law.support())
    keep = _bulk(values, weights, law, spectrum.dimension)
    bulk, bulk_weights = values[keep], weights[keep] / weights[keep].sum()
    positive = bulk > 0
    return Comparison(
        ks=_ks(bulk, bulk_weights, law),
        ks_all=_ks(values, weights, law),
        wasserstein_log=_wasserstein_log(bulk[positive], bulk_weights[positive], law),
        edges=(low, high),
        measured_edges=(float(bulk[positive][0]), float(bulk[-1])),
        outliers=np.concatenate([values[: keep.start], values[keep.stop :]]),
        vanishing=float(weights[values == 0].sum()),
        resolution=float(bulk_weights.max() / 2),
        dimension=spectrum.dimension,
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
) -> slice:
    """Return the range of the values that are not outliers."""
    low, high = law.log_support()
    atom = _atom_at_zero(law)
    level = min(1.0 / dimension, 0.5) * (1.0 - atom)  # of the continuous part
    x = _log(values)
    above = high - float(law.log_icdf(1.0 - level))
    stop = len(x) - _num_outliers(x, weights, high, above)
    start = 0
    if low > -math.inf:
        below = float(law.log_icdf(atom + level)) - low
        start = _num_outliers(-x[::-1], weights[::-1], -low, below)
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
    x: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n"], edge: float, spacing: float
) -> int:
    """Return how many of the largest ``x`` stand apart beyond ``edge``."""
    spacing = max(spacing, _SLACK)
    index = np.arange(1, len(x))
    gap = x[1:] - x[:-1]
    span = x[:-1] - x[np.maximum(index - 4, 0)]
    apart = (x[1:] > edge + _APART * spacing) & (gap > np.maximum(_APART * spacing, span))
    apart &= np.cumsum(weights[::-1])[::-1][1:] <= _MOST
    return len(x) - int(index[apart][0]) if apart.any() else 0


def _ks(values: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n"], law: SpectralLaw) -> float:
    after = np.cumsum(weights)
    over = after - law.cdf(values * (1 + _SLACK))
    # The law's mass strictly below a value: at 0 an atom of the law is not below it.
    below = np.where(values > 0.0, law.cdf(values * (1 - _SLACK)), 0.0)
    return float(max(over.max(), (below - (after - weights)).max(), 0.0))


def _wasserstein_log(
    values: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n"], law: SpectralLaw
) -> float:
    """Return the mean of |log value - log quantile| over levels p of the law off zero."""
    atom = _atom_at_zero(law)
    if atom >= 1.0:
        return math.inf
    weights = weights / weights.sum()
    parts = max(4, math.ceil(2048 / len(values)))
    inside = (np.arange(parts) + 0.5) / parts
    p = (np.cumsum(weights) - weights)[:, None] + weights[:, None] * inside
    quantiles = law.log_icdf(atom + (1.0 - atom) * np.clip(p, 0.0, 1.0))
    return float(np.sum(weights * np.abs(_log(values)[:, None] - quantiles).mean(axis=1)))
