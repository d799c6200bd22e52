"""How isometric is this model, which blocks decide it, and what is wrong with it?

The squared singular values of the residual trunk's Jacobian are measured, and predicted from its
blocks by the two-parameter law scale * UniversalLaw(c). A model without a residual stream is
measured without a prediction. Nothing in the model changes.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from isometry._checks import check_count
from isometry._typing import Checked, Integer
from isometry._words import Auto
from isometry.nn.blocks.blocks import Stage, Stream, stream_of
from isometry.nn.blocks.levels import heavy_blocks
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.blocks.recording import Recording
from isometry.nn.blocks.traces import BlockTraces, MeasuredCumulant, block_traces, measured_law
from isometry.nn.diagnosis import findings, verdicts
from isometry.nn.diagnosis.product import (
    ProductPrediction,
    WhatIf,
    predict_product,
    what_if_smaller,
)
from isometry.nn.diagnosis.result import Diagnosis, outliers
from isometry.nn.diagnosis.trunk import WatchedOperator, common_part, same_products
from isometry.nn.diagnosis.twin import measured_twin, part
from isometry.nn.diagnosis.verdicts import Verdict
from isometry.nn.linting.lint import audit, model_name
from isometry.nn.roles.follow import outermost
from isometry.nn.sandbox._typing import (
    BatchNorm,
    Blocks,
    Generator,
    Key,
    Model,
    ModelInput,
    Operator,
    Progress,
    SpectrumMethod,
)
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.spectrum.spectrum import Measurement, measure
from isometry.theory.comparison import Comparison, compare
from isometry.theory.spectrum import Spectrum


@dataclass(frozen=True)
class _Prediction:
    """The laws of the stages, or the reason why there is none for the whole."""

    traces: tuple[BlockTraces, ...]
    laws: tuple[MeasuredCumulant, ...]
    reason: str

    @property
    def one(self) -> MeasuredCumulant | None:
        return None if self.reason else self.laws[0]


def diagnose(
    model: Model,
    x: ModelInput = None,
    *,
    inputs: ModelInput = None,
    wrt: Key = None,
    output: Key = None,
    blocks: Blocks = None,
    batch_norm: BatchNorm = None,
    method: SpectrumMethod = None,
    num_probes: Checked[Integer | Auto] = "auto",
    num_matvecs: Checked[Integer | Auto] = "auto",
    twin: bool = False,
    generator: Generator = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Measure a model's Jacobian spectrum at ``x`` and compare it with its blocks' laws.

    Args:
        model: Module or function.
        x: The input: one sample, or a batch of one. In a larger batch every sample counts. Of
            token ids the point is what the model first makes of them; ``conditions`` says so.
        inputs: As for :class:`~isometry.nn.JacobianOperator`.
        wrt: As for :class:`~isometry.nn.JacobianOperator`.
        output: As for :class:`~isometry.nn.JacobianOperator`.
        blocks: Modules, or their names, to take as residual blocks; ``None`` finds them.
        batch_norm: Statistics of batch normalisation, ``"eval"`` (running) or ``"batch"``
            (those of ``x``, frozen); ``None`` refuses layers in train mode.
        method: ``"dense"``, ``"lanczos"`` or ``None``, as for
            :func:`~isometry.nn.singular_spectrum`.
        num_probes: Random probes for the spectrum (Lanczos) and for every block's traces, at
            least 3 for those; ``"auto"`` lets both follow the size.
        num_matvecs: Products each way per probe (Lanczos); ``"auto"`` goes on until the spectrum
            is resolved, within limits.
        twin: Measure the model's twin with rotated channels as well (:func:`~isometry.nn.twin`),
            which tells why a law fails and predicts outliers; as much work again as the spectrum.
        generator: Source of the probes, on the CPU; without one `torch.manual_seed` decides.
        progress: Called as ``progress(done, total)`` during the Lanczos products, or while the
            matrix is written out, of the model and then of the twin.

    Returns:
        The diagnosis; ``print`` it.

    Raises:
        TypeError: If ``x`` or the output is not one floating-point tensor, or ``blocks`` holds
            something else than modules and names.
        ValueError: If the model is random (dropout in train mode), has NaN weights, needs
            ``batch_norm``, or a name in ``blocks`` cannot be used.
        NotImplementedError: If no exact Jacobian products exist.

    Notes:
        What is measured is the trunk wherever there is one: embedding and head act on the
        Jacobian, not on the blocks' law. Cost: the spectrum, two backward passes per probe for
        all blocks together, and the blocks' own spectra (:func:`~isometry.nn.block_spectra`). The
        model comes out bitwise as it went in.
    """
    probes = check_count("num_probes", num_probes)
    check_count("num_matvecs", num_matvecs)
    generator = generator_or_fresh(generator)
    specimen = Specimen.of(model, x, inputs=inputs, wrt=wrt, output=output, batch_norm=batch_norm)
    with _collected() as notes:
        J = WatchedOperator(specimen, specimen.point, batch_norm, named=blocks is not None)
        stream, reason = _stream(J.recording, blocks, twin=twin)
        prediction = _predict(stream, reason, probes, generator)
        operator, measured = _operator(J, stream, generator)
        measurement = measure(
            operator,
            method,
            num_probes=num_probes,
            num_matvecs=num_matvecs,
            generator=generator,
            progress=part(progress, 0, 1 + twin),
        )
        product = predict_product(stream, measurement.spectrum, method, generator)
        rotated, own = stream if twin else None, measurement.spectrum
        other, unclear = measured_twin(rotated, own, method, generator, part(progress, 1, 2))
        smaller = _what_if(stream, product, measurement.spectrum, method, generator)
    notes += unclear
    others = findings.Others(product, other, smaller)
    if measured == "trunk" and _is_zero(J, generator):
        notes.append(_ZERO)
    roots = outermost(list(J._sandbox.names))
    return Diagnosis(
        model=model_name(specimen.model, roots),
        input_shape=tuple(specimen.point.shape),
        dtype=str(J.dtype).removeprefix("torch."),
        measured=measured,
        **_numbers(prediction.one),
        reason=prediction.reason,
        **_conclusions(measurement, stream, prediction, others),
        blocks=prediction.traces,
        stage_c=tuple(law.c for law in prediction.laws),
        parameters=audit(specimen, roots),
        warnings=tuple(dict.fromkeys(notes)),
        conditions=f"batch norm: {J.batch_norm}; products: {operator.route}{specimen.aside}",
    )


_TRACE_ENTRIES = 2**17
"""Entries of a block's probes, where three to eight of them reach that; small blocks get more."""

_ZERO = (
    "The model's own Jacobian is 0 (a zero-initialised head, or an output that ignores the "
    "input), so the trunk is measured: from the first block's input to the last block's output."
)


@contextmanager
def _collected() -> Iterator[list[str]]:
    """Collect what is warned about inside, in place of warning."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    notes += [str(w.message) for w in caught if issubclass(w.category, UserWarning)]


def _stream(recording: Recording, blocks: Blocks, *, twin: bool) -> tuple[Stream | None, str]:
    """Return the residual stream, or why there is none that something is predicted of.

    Where no skip is a number there is no c, and the trunk is measured beside its twin alone.

    Raises:
        ValueError: If blocks that are named cannot be used.
    """
    try:
        stream = stream_of(recording, blocks)
    except ValueError as error:
        if blocks is not None:
            raise
        return None, str(error)
    return (stream, "") if stream.stages or twin else (None, stream.remark)


def _predict(
    stream: Stream | None, reason: str, asked: int | None, generator: torch.Generator
) -> _Prediction:
    if stream is None:
        return _Prediction((), (), reason)
    traces, laws = [], []
    for stage in stream.stages:
        enough = (
            min(math.ceil(_TRACE_ENTRIES / stage.blocks[0].size), 8) if asked is None else asked
        )
        of_stage = block_traces(stage.blocks, num_probes=max(enough, 3), generator=generator)
        traces += of_stage
        try:
            laws.append(measured_law(of_stage))
        except NotImplementedError as error:
            reason = str(error)
    return _Prediction(tuple(traces), tuple(laws), stream.remark or reason)


def _operator(
    J: WatchedOperator, stream: Stream | None, generator: torch.Generator
) -> tuple[WatchedOperator | SegmentOperator, str]:
    """Return what to measure: the model where it is the trunk or has none, the trunk otherwise."""
    if stream is None:
        return J, "model"
    trunk = SegmentOperator(stream.trunk)
    return (J, "model") if same_products(J, trunk, generator) else (trunk, "trunk")


def _is_zero(J: Operator, generator: torch.Generator) -> bool:
    u = torch.randn(J.shape[0], generator=generator, dtype=J.dtype).to(J.device)
    return not bool((J.T @ u).any())


def _numbers(law: MeasuredCumulant | None) -> dict[str, Any]:
    names = ("c", "c_standard_error", "scale", "scale_standard_error", "law")
    return {name: None if law is None else getattr(law, name) for name in names}


def _what_if(
    stream: Stream | None,
    product: ProductPrediction,
    spectrum: Spectrum,
    method: SpectrumMethod,
    generator: torch.Generator,
) -> WhatIf | None:
    """Return what the heaviest block does, where the law that says so describes the model."""
    if stream is None or verdicts.product_holds(product, spectrum) is not True:
        return None
    return what_if_smaller(stream, product, method, generator)


def _conclusions(
    measurement: Measurement,
    stream: Stream | None,
    prediction: _Prediction,
    others: findings.Others,
) -> dict[str, Any]:
    """Return the fields that say what the measured numbers mean."""
    law = prediction.one.law if prediction.one else None
    spectrum, product = measurement.spectrum, others.product
    comparison = compare(spectrum, law) if law and spectrum.values[-1] > 0 else None
    span = verdicts.span(spectrum, comparison)
    isometric = verdicts.isometric(span, law)
    said = _sentences(measurement, stream, prediction, comparison, isometric, span, others)
    return {
        "spectrum": spectrum,
        "comparison": comparison,
        "isometric": isometric,
        "law_holds": verdicts.law_holds(comparison, spectrum),
        "outliers": outliers(comparison),
        "spans": stream.spans if stream else (),
        "findings": tuple(said),
        "product_law": product.law,
        "product_reason": product.reason,
        "product_comparison": product.comparison,
        "product_law_holds": verdicts.product_holds(product, spectrum),
        "contributions": product.contributions,
        "twin": None if others.twin is None else others.twin[0],
        "twin_comparison": None if others.twin is None else others.twin[1],
    }


def _sentences(
    measurement: Measurement,
    stream: Stream | None,
    prediction: _Prediction,
    comparison: Comparison | None,
    isometric: Verdict,
    span: verdicts.Span,
    others: findings.Others,
) -> list[str]:
    """Return what the numbers mean, the most important first."""
    spectrum = measurement.spectrum
    shares = {t.name: max(t.c, 0.0) for t in prediction.traces}
    total = math.fsum(shares.values())
    shares = {name: part / total for name, part in shares.items()} if total else {}
    hidden = findings.vanishing(spectrum, spectrum.provenance.split(", ")[1])
    hidden += findings.spanning(stream.spans if stream else ())
    if comparison is None or prediction.one is None or stream is None:
        first = [*findings.unpredicted(spectrum, total), *heavy_blocks(shares)]
        return [*first, *findings.product_alone(others, spectrum), *hidden]
    direction = ""
    top = comparison.outlier_lam
    if len(top) and top[-1] > comparison.edges[1]:
        direction = _direction(measurement, stream.stages[-1])
    within: list[str] = []
    if verdicts.law_holds(comparison, spectrum) is True:
        positions = math.prod(stream.stages[-1].trunk.target_shape[:-1])
        within = findings.chance(comparison, prediction.one.law, positions, len(prediction.traces))
    return [
        findings.level(isometric, span, prediction.one.law),
        *findings.unresolved(spectrum),
        *heavy_blocks(shares),
        *findings.smaller(others.smaller),
        *findings.outliers(comparison, direction),
        findings.agreement(comparison, spectrum, others),
        *within,
        *hidden,
    ]


def _direction(measurement: Measurement, stage: Stage) -> str:
    """Say what the largest outlier's output direction has in common."""
    shape = stage.trunk.target_shape
    whole, along = common_part(measurement.top_direction().reshape(shape))
    return findings.direction(whole, along, shape)
