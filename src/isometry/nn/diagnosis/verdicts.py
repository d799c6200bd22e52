"""Yes, no, or not resolved: is the spectrum nearly isometric, and does the law describe it?

A verdict is about what was measured. Where a part of the spectrum is unresolved it is "unresolved",
unless what is resolved decides it: singular values that span too much already do so in any case.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isometry.nn.blocks.levels import FAR, NEAR
from isometry.nn.diagnosis.product import ProductPrediction
from isometry.theory.comparison import Comparison, ks_tolerance
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectrum import Spectrum

Verdict = bool | Literal["unresolved"]

BEYOND = 5.0
"""Times the law's condition number from which on the measured one is the finding."""
ROUNDING = 1e-3
"""Relative distance in s within which a value lies on a point: 16 bits leave as much."""
RANK_LOST = 0.01
"""Weight of zeros from which on a map is not isometric; normalisation layers lose less."""


@dataclass(frozen=True)
class Span:
    """Largest over smallest s of the bulk, or of the middle 98 % where no law says what is bulk.

    ``factor`` is a lower bound where ``resolved`` is False. ``near`` and ``far`` are the factors
    that the laws of c = NEAR and c = FAR span, measured the same way.
    """

    factor: float
    resolved: bool
    near: float
    far: float


def span(spectrum: Spectrum, comparison: Comparison | None) -> Span:
    """Measure how far the singular values reach, zeros and outliers apart."""
    resolved = spectrum.unresolved[0] == spectrum.unresolved[1]
    near, far = UniversalLaw(NEAR), UniversalLaw(FAR)
    zeros = float(np.asarray(spectrum.weights)[spectrum.values == 0].sum())
    known = spectrum.values[spectrum.above_unresolved() & (spectrum.values > 0)]
    if comparison is not None:
        low, high = comparison.measured_edges
        low = float(known[0]) if low is None else low
        limits = near.condition_number(), far.condition_number()
    else:
        low, high = _middle(spectrum, known)
        limits = _middle_span(near), _middle_span(far)
    lost = zeros > RANK_LOST or not low > 0
    return Span(math.inf if lost else math.sqrt(max(high / low, 1.0)), resolved, *limits)


def _middle(spectrum: Spectrum, known: np.ndarray) -> tuple[float, float]:
    """Return the lam that 1 % lie below, or the smallest that is known, and that 1 % lie above."""
    if not len(known):
        return 0.0, 0.0
    low = float(spectrum.icdf(0.01)) if spectrum.resolves(0.01) else float(known[0])
    return low, float(spectrum.icdf(0.99))


def _middle_span(law: UniversalLaw) -> float:
    low, high = law.icdf(np.array([0.01, 0.99]))
    return math.sqrt(high / low)


def isometric(measured: Span, law: UniversalLaw | None) -> Verdict:
    """Return whether the measured singular values are near dynamical isometry.

    They are if they span no more than those of the universal law of c = 1.5, and no more than five
    times those of the model's own law.
    """
    limit = measured.near if law is None else min(measured.near, BEYOND * law.condition_number())
    if measured.factor > limit:
        return False
    return True if measured.resolved else "unresolved"


def allowed_distance(comparison: Comparison, spectrum: Spectrum) -> float:
    """Return the Kolmogorov-Smirnov distance that chance and the method allow, at least 0.02."""
    allowed = ks_tolerance(spectrum.dimension) + comparison.resolution
    if spectrum.standard_error is not None:
        allowed += 3 * float(spectrum.standard_error.max())
    return max(0.02, allowed)


def from_point(comparison: Comparison) -> float | None:
    """Return the largest relative distance in s from a law that is one point; else None.

    Rounding puts measured values on either side of the point, so that no distance of distribution
    functions says anything there.
    """
    (low, high), (lowest, highest) = comparison.edges, comparison.measured_edges
    if high > low * (1 + 1e-12) or not low > 0:
        return None
    ends = (highest if lowest is None else lowest, highest)
    return max(abs(math.expm1(math.log(end / low) / 2)) for end in ends)


def distance(comparison: Comparison | None) -> float | None:
    """Return the Kolmogorov-Smirnov distance to a law; None without one, and from a point."""
    if comparison is None or from_point(comparison) is not None:
        return None
    return comparison.ks


def law_holds(comparison: Comparison | None, spectrum: Spectrum) -> Verdict:
    """Return whether the law describes the bulk; "unresolved" also where there is no law.

    So it is where chance alone may give more than half of all distances: too few values to tell.
    """
    if comparison is None:
        return "unresolved"
    apart = from_point(comparison)
    if apart is not None:
        return apart < ROUNDING
    allowed = allowed_distance(comparison, spectrum)
    if comparison.ks > allowed:
        return False
    return True if comparison.unresolved <= allowed < 0.5 else "unresolved"


def product_allows(product: ProductPrediction, comparison: Comparison, spectrum: Spectrum) -> float:
    """Return the distance that is allowed to a product law, whose factors are measured as well."""
    return allowed_distance(comparison, spectrum) + 3 * product.standard_error


def product_holds(product: ProductPrediction, spectrum: Spectrum) -> Verdict:
    """Return whether the product law describes the bulk; "unresolved" also where there is none."""
    if product.comparison is None:
        return "unresolved"
    allowed = product_allows(product, product.comparison, spectrum)
    if product.comparison.ks > allowed:
        return False
    return True if product.comparison.unresolved <= allowed else "unresolved"


def twin_holds(ks: float, spectrum: Spectrum, twin: Spectrum) -> bool:
    """Return whether a model's spectrum is that of its twin, given that both scatter."""
    allowed = max(0.02, ks_tolerance(spectrum.dimension)) + ks_tolerance(spectrum.dimension)
    for measured in (spectrum, twin):
        if measured.standard_error is not None:
            allowed += 3 * float(measured.standard_error.max())
    return ks <= allowed
