"""What a diagnosis predicts from the blocks' own spectra: the product law, and what if one shrank.

Where a stretch between two blocks acts on the stream, a normalisation or an activation after the
sum, it belongs to the factor before it: the factors multiply to the trunk in any case.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from isometry.errors import ConvergenceError
from isometry.nn.blocks.blocks import Block, Stream
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.blocks.spectra import PROBE_ENTRIES, block_spectra, operator_spectra
from isometry.nn.sandbox._typing import SpectrumMethod
from isometry.theory.comparison import Comparison, compare
from isometry.theory.laws.product import ProductLaw
from isometry.theory.spectrum import Spectrum

_WRITTEN_OUT = 1024
"""Singular values up to which factors with something between are written out, for their zeros."""
_MOVED = (0.0, 0.005, 0.02)
"""Weights at each end of a factor that are put at its bulk, tried where the solver needs it."""
_FEWEST = 24
"""Singular values from which on a distance to a law, of 6/N by chance alone, says something."""
_HEAVY = 3.0
"""Times the even part of the range from which on one block is asked what if it were smaller."""


@dataclass(frozen=True)
class WhatIf:
    """What the product law says of the trunk with one branch multiplied by a factor.

    Attributes:
        block: The block's name.
        factor: What its branch is multiplied by.
        before: The ratio of the 98 % to the 2 % quantile of s as the model is.
        after: The same with the factor.
    """

    block: str
    factor: float
    before: float
    after: float


@dataclass(frozen=True)
class ProductPrediction:
    """The product law of a stream, how far it is from what was measured, or why there is none.

    Attributes:
        law: The law.
        comparison: How far the measured spectrum is from it.
        contributions: Each factor's part of the range of log s between 2 and 98 %.
        moved: Weight at each end of every factor that was put at its bulk for the solver's sake.
        standard_error: Of the law's distribution function, from the probes.
        reason: Why there is no law.
    """

    law: ProductLaw | None = None
    comparison: Comparison | None = None
    contributions: tuple[float, ...] = ()
    moved: float = 0.0
    standard_error: float = 0.0
    reason: str = ""


def predict_product(
    stream: Stream | None, spectrum: Spectrum, method: SpectrumMethod, generator: torch.Generator
) -> ProductPrediction:
    """Return the product law of a stream's factors, compared with the trunk's spectrum."""
    if stream is None or len(stream.chain) < 2:
        return ProductPrediction(reason="There are no two residual blocks to multiply.")
    if spectrum.dimension < _FEWEST:
        return ProductPrediction(
            reason=f"{spectrum.dimension} singular values are too few to tell laws apart."
        )
    operators = [SegmentOperator(segment) for segment in stream.chain]
    shapes = [A.shape for A in operators]
    if stream.remark and max(min(shape) for shape in shapes) > _WRITTEN_OUT:
        return ProductPrediction(
            reason="What acts on the stream between the blocks may have zeros, which are told "
            f"apart only up to {_WRITTEN_OUT} values."
        )
    try:
        if stream.remark:
            factors = operator_spectra(operators, "dense", generator=generator)
        else:
            factors = block_spectra(stream.blocks, method, generator=generator)
    except NotImplementedError as error:
        return ProductPrediction(reason=str(error))
    if not spectrum.values[-1] > 0 or any(not f.values[-1] > 0 for f in factors):
        return ProductPrediction(reason="A factor of the trunk is 0.")
    found = _compared(factors, shapes, spectrum)
    probed = not all("dense" in factor.provenance for factor in factors)
    entries = max(PROBE_ENTRIES, min(spectrum.dimension, shapes[0][1]))
    return replace(found, standard_error=0.45 / math.sqrt(entries) if probed else 0.0)


def _compared(
    factors: Sequence[Spectrum], shapes: Sequence[tuple[int, int]], spectrum: Spectrum
) -> ProductPrediction:
    square = all(m == n for m, n in shapes)
    reason = ""
    for most in _MOVED:
        given = [_without_ends(f, most) for f in factors]
        law = ProductLaw(given, None if square else shapes)
        try:
            comparison = compare(spectrum, law) if square else _of_values(spectrum, shapes, law)
            low, high = _levels(law)
            parts = tuple((law.contributions(low, high) / 2).tolist())
            return ProductPrediction(law, comparison, parts, most)
        except ConvergenceError as error:
            reason = str(error)
    return ProductPrediction(reason=reason)


def _of_values(
    spectrum: Spectrum, shapes: Sequence[tuple[int, int]], law: ProductLaw
) -> Comparison:
    """Return distances of the trunk's own values, where the law has one per column.

    Columns beyond the rows have a 0 each, in both, which would make every distance smaller by
    the share of the others.
    """
    found = compare(_padded(spectrum, shapes), law)
    share = min(1.0, spectrum.dimension / shapes[0][1])
    return replace(found, ks=found.ks / share, ks_all=found.ks_all / share)


def _padded(spectrum: Spectrum, shapes: Sequence[tuple[int, int]]) -> Spectrum:
    """Return a spectrum with a value per column of the trunk, as the law of a product has them."""
    rows, columns = shapes[-1][0], shapes[0][1]
    share = min(rows, columns) / columns
    if share == 1.0:
        return spectrum
    return Spectrum(
        np.append(spectrum.values, 0.0),
        np.append(spectrum.weights * share, 1 - share),
        provenance=spectrum.provenance,
        dimension=columns,
    )


def _without_ends(factor: Spectrum, most: float) -> Spectrum:
    """Return a spectrum with a weight at either end put at the value where the rest begins.

    A few values far from a factor's bulk are outliers of the product and leave its bulk as it is;
    moving a weight p moves a distribution function by p at most.
    """
    if not most:
        return factor
    positive = factor.values > 0
    values, weights = factor.values[positive], factor.weights[positive]
    upto, beyond = np.cumsum(weights), np.cumsum(weights[::-1])[::-1]
    start = int(np.searchsorted(upto, most))
    stop = len(values) - int(np.searchsorted(beyond[::-1], most))
    if start >= stop:
        return factor
    moved = np.clip(values, values[start], values[stop - 1])
    return replace(
        factor,
        values=np.append(factor.values[~positive], moved),
        weights=np.append(factor.weights[~positive], weights),
    )


def what_if_smaller(
    stream: Stream, found: ProductPrediction, method: SpectrumMethod, generator: torch.Generator
) -> WhatIf | None:
    """Return what the heaviest block does to the range, if it is much heavier than the others."""
    parts = np.array(found.contributions)
    if found.law is None or stream.remark or len(parts) < 3:
        return None
    heaviest = int(parts.argmax())
    if not parts[heaviest] > max(_HEAVY * parts.mean(), 0.05):
        return None
    even = max(float(np.median(parts)), 0.01 * parts[heaviest])
    return what_if(stream.blocks[heaviest], math.sqrt(even / parts[heaviest]), found.law,
                   method, generator)  # fmt: skip


def what_if(
    block: Block,
    factor: float,
    law: ProductLaw,
    method: SpectrumMethod,
    generator: torch.Generator,
) -> WhatIf | None:
    """Return the range of the product with one branch multiplied; None where it is not solved."""
    (smaller,) = operator_spectra(
        [SegmentOperator.of_block(block, factor)], method, generator=generator
    )
    entries = [(rule, count) for rule, count in law.factors]
    entries[block.index] = ((smaller.values, smaller.weights), 1)
    try:
        after = _range(ProductLaw(entries))
    except ConvergenceError:
        return None
    return WhatIf(block.name, factor, _range(law), after)


def _range(law: ProductLaw) -> float:
    low, high = law.log_icdf(np.array(_levels(law)))
    return math.exp(float(high - low) / 2)


def _levels(law: ProductLaw) -> tuple[float, float]:
    """Return the levels of 2 and 98 % of what is not 0."""
    places, weights = law.atoms()
    zeros = float(weights[places == 0].sum())
    return zeros + 0.02 * (1 - zeros), zeros + 0.98 * (1 - zeros)
