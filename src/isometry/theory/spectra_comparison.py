"""How far are two measured spectra from each other, as a model's and its twin's?"""

import math
from dataclasses import dataclass

import numpy as np

from isometry._checks import check_kind
from isometry._result import Result
from isometry._typing import Checked
from isometry.theory.spectrum import Spectrum

_SLACK = 1e-5  # of lam: what products in single precision leave of equal values


@dataclass(frozen=True)
class SpectraComparison(Result):
    """What :func:`compare_spectra` found.

    Attributes:
        ks: Kolmogorov-Smirnov distance of the two, outliers included.
        largest: The largest singular value of the second over that of the first.
        unresolved: Weight of the part that one of them does not resolve, which ``ks`` leaves out.
    """

    ks: float
    largest: float
    unresolved: float


def compare_spectra(first: Checked[Spectrum], second: Checked[Spectrum]) -> SpectraComparison:
    """Measure how far two spectra are from each other.

    Args:
        first: Values of lam.
        second: Values of lam, weighted or not.

    Returns:
        Their distance and the ratio of their largest singular values.

    Raises:
        TypeError: If one is no Spectrum.
        ValueError: If every value of the first is 0.

    Notes:
        Two random matrices of one law are each within 6/N of it (:func:`ks_tolerance`). Values
        that agree to 1e-5 relative are no distance.

    Examples:
        >>> compare_spectra(Spectrum([0.5, 2.0]), Spectrum([0.5, 8.0]))
        SpectraComparison(ks=0.5, largest=2.0, unresolved=0.0)
    """
    for name, spectrum in (("first", first), ("second", second)):
        check_kind(name, spectrum, Spectrum, "a Spectrum")
    top = float(first.values[-1])
    if not top > 0:
        raise ValueError("`first` has only zeros; expected some lam > 0. Is J itself 0?")
    at = np.union1d(first.values, second.values)
    hidden = max(first.unresolved[1], second.unresolved[1])
    known = np.minimum(first.cdf(at), second.cdf(at)) >= hidden
    # where all values are one, rounding decides on which side of it they lie
    further = at * (1.0 + _SLACK)
    beyond = (first.cdf(at) - second.cdf(further), second.cdf(at) - first.cdf(further))
    gap = np.maximum(*beyond)[known]
    return SpectraComparison(
        float(gap.max(initial=0.0)), math.sqrt(float(second.values[-1]) / top), hidden
    )
