"""What the numbers of a diagnosis mean, in sentences. No measurement here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from isometry._typing import Float
from isometry.nn.blocks.levels import FAR
from isometry.nn.diagnosis.product import ProductPrediction, WhatIf
from isometry.nn.diagnosis.verdicts import (
    ROUNDING,
    Span,
    Verdict,
    allowed_distance,
    from_point,
    product_allows,
    product_holds,
    twin_holds,
)
from isometry.theory.comparison import Comparison
from isometry.theory.finite_width import WIDTHS, width_bands
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectra_comparison import SpectraComparison
from isometry.theory.spectrum import Spectrum

_FINITE = 0.5
"""Times 1 / blocks: how far finite depth moves a bulk from the universal law, measured."""
_IDENTITY = 1.2
"""Factor that the singular values span, up to which blocks hardly act."""


def level(verdict: Verdict, measured: Span, law: UniversalLaw) -> str:
    """Say how far from isometry a network is: what was measured first, then its law."""
    predicted = law.condition_number()
    spans = _spans(measured, predicted, law.c)
    if verdict == "unresolved":
        return f"Isometry is unresolved: {spans}."
    if verdict:
        if measured.factor < _IDENTITY:
            return f"Almost the identity map: {spans}; the blocks hardly act yet."
        return f"Near dynamical isometry: {spans}."
    if measured.factor == math.inf:
        return f"Not isometric: singular values are 0; {_theory(predicted, law.c)}."
    if measured.factor > measured.far and law.c >= FAR:
        return f"Far from isometry: {spans}. {_remedy(law.c)}"
    word = "Far" if measured.factor > measured.far else "Some way"
    own = measured.factor / predicted
    aside = f" The blocks' law explains only a part of it: {own:.3g} times." if own > 3 else ""
    return f"{word} from isometry: {spans}.{aside}"


def _spans(measured: Span, predicted: float, c: float) -> str:
    if not measured.resolved and measured.factor <= 1.0:
        return f"nothing of the bulk was told apart, {_theory(predicted, c)}"
    least = "" if measured.resolved else "at least "
    factor = "infinity" if measured.factor == math.inf else f"{measured.factor:.3g}"
    return (
        f"the singular values of the bulk span {least}a factor {factor} measured, "
        f"{_theory(predicted, c)}"
    )


def _theory(predicted: float, c: float) -> str:
    return f"{predicted:.3g} in theory (c = {c:.3g})"


def _remedy(c: float) -> str:
    return (
        "Multiplying the last layer of every branch by "
        f"about {1 / math.sqrt(c):.2g} brings c near 1, and so does "
        "`isometry.nn.residual_(model, x, c=1.0)`."
    )


def unresolved(spectrum: Spectrum) -> list[str]:
    """Say what part of the spectrum is not known, and what follows for the rest of the report."""
    low, high = spectrum.unresolved
    if high <= low:
        return []
    reach = math.sqrt(float(spectrum.values[spectrum.above_unresolved()][0]))
    return [
        f"{high - low:.0%} of the singular values are unresolved: they lie below about "
        f"{reach:.2g}, and whether they are small or 0, where the lower edge is and what lies "
        "below it was not measured."
    ]


def spanning(spans: Sequence[object]) -> list[str]:
    """Name the blocks that contain residual additions of their own."""
    return [f"{text[:1].upper()}{text[1:]}." for text in map(str, spans)]


@dataclass(frozen=True)
class Others:
    """What else predicts the spectrum beside the two-parameter law.

    Attributes:
        product: The product law, or why there is none.
        twin: The spectrum of the twin and how far it is, where it was measured.
        smaller: What the heaviest block does to the range.
    """

    product: ProductPrediction = field(default_factory=ProductPrediction)
    twin: tuple[Spectrum, SpectraComparison] | None = None
    smaller: WhatIf | None = None


_ALONE = Others()


def agreement(comparison: Comparison, spectrum: Spectrum, others: Others = _ALONE) -> str:
    """Say which prediction the bulk follows, given what chance and the method allow."""
    allowed = allowed_distance(comparison, spectrum)
    ks = comparison.ks
    what = "what is resolved of the bulk" if comparison.unresolved else "the bulk"
    apart = from_point(comparison)
    if apart is not None:
        place = math.sqrt(comparison.edges[0])
        if apart < ROUNDING:
            off = f", which is to rounding ({apart:.1g} off at most)" if apart else ""
            return f"All singular values of {what} are {place:.4g}, as the law has them{off}."
        return (
            f"The law, all of it at s = {place:.4g}, does not describe {what}, "
            f"{apart:.1g} off at most."
        )
    distance = f"Kolmogorov-Smirnov distance {ks:.3f}, allowed {allowed:.3f} at this size"
    if ks <= allowed and allowed >= 0.5:
        return f"Too few values to tell whether the law describes {what}: {distance}."
    if ks <= allowed:
        return f"The law describes {what}: {distance}."
    words = "roughly describes" if ks <= min(0.1, 3 * allowed) else "does not describe"
    return f"The law {words} {what}: {distance}. {_why(others, spectrum)}"


def chance(comparison: Comparison, law: UniversalLaw, positions: int, blocks: int) -> list[str]:
    """Say whether a bulk that the law describes is as near to it as chance alone puts one.

    Nothing is said where the same weights act at several positions, whose scatter is another, and
    where there are so few blocks that their number moves the bulk by more than chance does.
    """
    size = comparison.dimension
    resolved = comparison.unresolved == 0 and from_point(comparison) is None
    known = WIDTHS.least <= size and WIDTHS.c[0] <= law.c <= WIDTHS.c[1]
    if positions != 1 or not resolved or not known:
        return []
    bands = width_bands(law, size)
    if _FINITE / blocks > bands.ks:
        return []
    ends: list[str] = []
    pairs = zip(("lower", "upper"), comparison.measured_edges, strict=True)
    for (name, lam), band in zip(pairs, (bands.lower_edge, bands.upper_edge), strict=True):
        low, high = (math.sqrt(end) for end in band)
        s = math.sqrt(lam or 0.0)
        where = "within" if low <= s <= high else "below" if s < low else "above"
        ends.append(f"the {name} edge {s:.3g} is {where} {low:.3g} to {high:.3g}")
    verb = "within" if comparison.ks <= bands.ks else "beyond"
    return [
        f"Of what chance does at N = {size}: the distance {comparison.ks:.4f} is {verb} "
        f"{bands.ks:.4f}, {ends[0]}, {ends[1]} (95 %)."
    ]


def _why(others: Others, spectrum: Spectrum) -> str:
    """Say what the product law and the twin tell of a law that does not hold."""
    product = others.product
    if product.comparison is None:
        return (
            "The blocks are not small and free of each other: few positions, averaging over "
            "them, shared or trained weights, or a few large blocks do that."
        )
    allowed = product_allows(product, product.comparison, spectrum)
    distance = f"distance {product.comparison.ks:.3f}, allowed {allowed:.3f}"
    holds = product_holds(product, spectrum)
    if holds is True:
        return (
            f"The product law of the blocks' own spectra describes it, {distance}: the blocks are "
            "free of each other, but too few or too large for their c to say all."
        )
    if holds == "unresolved":
        return f"The product law of the blocks' own spectra has a {distance}, where it is resolved."
    return (
        f"Nor does the product law of the blocks' own spectra, {distance}: the blocks are not "
        f"free of each other.{_by_twin(others.twin, spectrum)}"
    )


def _by_twin(twin: tuple[Spectrum, SpectraComparison] | None, spectrum: Spectrum) -> str:
    if twin is None:
        return " Whether channels or places do that, `twin=True` tells."
    measured, comparison = twin
    if twin_holds(comparison.ks, spectrum, measured):
        return (
            f" With channels rotated between the blocks the spectrum is the same, distance "
            f"{comparison.ks:.3f}: they share what they do to tokens, pixels or streams, not their "
            "channels."
        )
    return (
        f" With channels rotated between the blocks it is another one, distance "
        f"{comparison.ks:.3f}: the blocks know each other's channels, as copied, shared and "
        "trained weights do, and normalisations between them."
    )


def product_alone(others: Others, spectrum: Spectrum) -> list[str]:
    """Say how the product law does where there is no law of the blocks' c."""
    product = others.product
    if product.comparison is None:
        return []
    ks, holds = product.comparison.ks, product_holds(product, spectrum)
    if holds is False:
        return [
            "The product law of the stream's pieces does not describe the spectrum: "
            f"Kolmogorov-Smirnov distance {ks:.3f}. The pieces are not free of each "
            f"other.{_by_twin(others.twin, spectrum)}"
        ]
    verb = "describes" if holds is True else "is not told from"
    return [
        f"The product law of the stream's pieces {verb} the spectrum: Kolmogorov-Smirnov "
        f"distance {ks:.3f}."
    ]


def smaller(found: WhatIf | None) -> list[str]:
    """Say what the heaviest block does to the range of the singular values."""
    if found is None:
        return []
    return [
        f"With the branch of block `{found.block}` multiplied by {found.factor:.2g}, 2 to 98 % of "
        f"the singular values would span a factor {found.after:.3g} in place of "
        f"{found.before:.3g}, by the product law."
    ]


def left_bulk(comparison: Comparison) -> Float[np.ndarray, "k"]:
    """Return the outliers as singular values, without the zeros, which are told apart."""
    return np.sqrt(comparison.outlier_lam[comparison.outlier_lam > 0])


def outliers(comparison: Comparison, direction: str) -> list[str]:
    """Count the singular values that left the bulk, and say what feeds the largest."""
    edge = math.sqrt(comparison.edges[1])
    s = left_bulk(comparison)
    above, below = s[s > edge], s[s <= edge]
    said = []
    if len(above):
        many = "One outlier" if len(above) == 1 else f"{len(above)} outliers, the largest"
        far = above[-1] / edge
        beyond = f"{far:.3g} edges" if far >= 1.1 else f"{far - 1:.1%} beyond the edge"
        said.append(f"{many} at s = {above[-1]:.4g} = {beyond}{direction}.")
    if len(below):
        many = "One singular value" if len(below) == 1 else f"{len(below)} singular values"
        said.append(f"{many} below the bulk, the smallest at s = {below[0]:.2g}.")
    return said


def direction(whole: float, along: Mapping[int, float], shape: Sequence[int]) -> str:
    """Say what an outlier's output direction has in common, from its constant parts."""
    if whole > 0.5:
        return ": the mean direction of a non-odd activation"
    axis = max(along, key=lambda i: along[i], default=None)
    if axis is not None and along[axis] > 0.5:
        return (
            f": {along[axis]:.0%} of its direction is the same at all {shape[axis]} places of axis "
            f"{axis}, so averaging over that axis feeds it"
        )
    return ""


def vanishing(spectrum: Spectrum, dtype: str) -> list[str]:
    """Say how much of the spectrum is known to be zero."""
    weight = float(np.asarray(spectrum.weights)[spectrum.values == 0].sum())
    if weight <= 0:
        return []
    least = "At least " if spectrum.unresolved[1] > spectrum.unresolved[0] else ""
    return [
        f"{least}{weight:.2%} of the singular values are 0 to {dtype} precision: directions that "
        "nothing behind them sees."
    ]


def unpredicted(spectrum: Spectrum, total: float) -> list[str]:
    """Describe a spectrum that no law is compared with, as far as it is resolved."""
    if spectrum.values[-1] <= 0:
        return ["The Jacobian is 0: the output does not change with the input at this point."]
    words = {0.01: "1 % at most {:.3g}", 0.5: "median {:.3g}", 0.99: "1 % above {:.3g}"}
    quantiles = {p: math.sqrt(float(spectrum.icdf(p))) for p in words if spectrum.resolves(p)}
    parts = [words[p].format(s) for p, s in quantiles.items() if s > 0]
    zero = max((p for p, s in quantiles.items() if s == 0), default=None)
    if zero is not None:
        parts.insert(0, f"at least {zero:.0%} are 0")
    sentences = [f"Singular values: {', '.join(parts)}.", *unresolved(spectrum)]
    if total > 0:
        sentences.append(f"The c of the blocks that have one add up to {total:.3g}.")
    return sentences
