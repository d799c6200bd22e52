"""What a diagnosis holds: numbers, verdicts and sentences, of which ``print`` makes a report."""

import contextlib
import html
import math
from dataclasses import dataclass, field
from typing import Any

from isometry._result import Drawn, Paged, Result, drawing, html_table
from isometry.nn.blocks.spans import SpanningBlock
from isometry.nn.blocks.traces import BlockTraces
from isometry.nn.diagnosis.findings import left_bulk
from isometry.nn.diagnosis.text import text
from isometry.nn.diagnosis.verdicts import Verdict, distance
from isometry.nn.linting.finding import Finding
from isometry.theory.comparison import Comparison
from isometry.theory.laws.product import ProductLaw
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectra_comparison import SpectraComparison
from isometry.theory.spectrum import Spectrum


@dataclass(frozen=True)
class Outlier(Result):
    """A singular value outside the bulk.

    Attributes:
        singular_value: s, not lam.
        over_edge: s over that of the law's nearer edge: above 1 beyond the upper one, below 1
            under the lower one.
    """

    singular_value: float
    over_edge: float


@dataclass(frozen=True, eq=False)
class Diagnosis(Result, Drawn, Paged):
    """What :func:`diagnose` found.

    Attributes:
        model: Name of the model's class, or of those that a function calls.
        input_shape: Shape of the input.
        dtype: Precision of the products.
        measured: What ``spectrum`` is of: ``"model"`` or ``"trunk"`` (the residual stream from
            the first block's input to the last block's output).
        c: The effective cumulant of the trunk from its blocks' traces; None without a prediction.
        c_standard_error: Its standard error over the probes.
        scale: The scale of the law, in units of lam = s^2.
        scale_standard_error: Its standard error over the probes.
        law: ``scale * UniversalLaw(c)``.
        reason: Why there is no prediction; empty where there is one.
        spectrum: The measured lam.
        comparison: How far the two are apart.
        isometric: Whether the measured bulk is near dynamical isometry: it spans no more than the
            law of c = 1.5 and not five times the model's own law; ``"unresolved"`` where the
            measurement does not say.
        law_holds: Whether the law describes the bulk within what chance and the method allow;
            ``"unresolved"`` where the measurement does not say, or there is no law.
        outliers: What left the bulk, ascending, one entry for each singular value.
        blocks: Traces of every block.
        stage_c: c of every stage between operations on the stream that no block contains.
        parameters: Parameters that look uninitialised, switched off or off scale.
        findings: What the numbers mean, a sentence each.
        warnings: What makes the numbers doubtful, with the remedy.
        conditions: How batch normalisation was treated, and how products were computed.
        spans: Blocks that contain residual additions of their own.
        product_law: The law of the product of the blocks' own spectra, small or not; None with
            fewer than two blocks or 24 singular values, or where it was not computed: see
            ``product_reason``.
        product_reason: Why there is no product law; empty where there is one.
        product_comparison: How far the measured spectrum is from it.
        product_law_holds: Whether it describes the bulk, as ``law_holds``.
        contributions: Each block's part of log(s at 98 % / s at 2 %) in the product law: about
            what that loses without the block.
        twin: The lam of the twin with rotated channels, where it was asked for.
        twin_comparison: How far the twin's spectrum is from the model's.
    """

    _version = 2
    _also = "blocks", "shares"

    model: str
    input_shape: tuple[int, ...]
    dtype: str
    measured: str
    c: float | None
    c_standard_error: float | None
    scale: float | None
    scale_standard_error: float | None
    law: UniversalLaw | None
    reason: str
    spectrum: Spectrum
    comparison: Comparison | None
    isometric: Verdict
    law_holds: Verdict
    outliers: tuple[Outlier, ...]
    blocks: tuple[BlockTraces, ...] = field(repr=False)
    stage_c: tuple[float, ...]
    parameters: tuple[Finding, ...]
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
    conditions: str
    spans: tuple[SpanningBlock, ...] = ()
    product_law: ProductLaw | None = None
    product_reason: str = ""
    product_comparison: Comparison | None = None
    product_law_holds: Verdict = "unresolved"
    contributions: tuple[float, ...] = ()
    twin: Spectrum | None = None
    twin_comparison: SpectraComparison | None = None

    _page = "diagnosis"

    @property
    def shares(self) -> tuple[float, ...]:
        """Each block's part of c, of all blocks together; 0 where that is 0."""
        total = sum(block.c for block in self.blocks)
        return tuple(block.c / total if total > 0 else 0.0 for block in self.blocks)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per block: name, size, traces with errors, share of c, contribution."""
        pairs = zip(self.blocks, self.shares, strict=True)
        rows = [{**block.rows()[0], "share of c": share} for block, share in pairs]
        if len(self.contributions) == len(rows):
            for row, part in zip(rows, self.contributions, strict=True):
                row["log range"] = part
        return rows

    def summary(self) -> dict[str, Any]:
        """Return the scalars that a logger or a table of many models takes; None if not measured.

        Singular values are s; the condition number is that of the measured bulk. From a law that
        is one point there is no ``ks``: rounding alone decides it.
        """
        known = self.comparison or self.product_comparison
        median = self.spectrum.icdf(0.5) if self.spectrum.resolves(0.5) else None
        return {
            "model": self.model,
            "measured": self.measured,
            "dimension": self.spectrum.dimension,
            "blocks": len(self.blocks),
            "c": self.c,
            "scale": self.scale,
            "singular_value_median": None if median is None else math.sqrt(float(median)),
            "singular_value_max": math.sqrt(float(self.spectrum.values[-1])),
            "bulk_condition_number": None if known is None else known.bulk_condition_number,
            "outliers": len(self.outliers),
            "isometric": self.isometric,
            "law_holds": self.law_holds,
            "ks": distance(self.comparison),
            "product_law_holds": self.product_law_holds,
            "product_ks": distance(self.product_comparison),
            "twin_ks": None if self.twin_comparison is None else self.twin_comparison.ks,
        }

    def _draw(self, room: Any, ax: Any) -> None:
        """Draw the measured spectrum, the law, the product law and the twin."""
        room.plot_predictions(ax, self.spectrum, self.law, self.product_law, self.twin)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what it means first, the figure, the blocks folded."""
        said = "".join(f"<li>{html.escape(text)}</li>" for text in self.findings)
        doubts = "".join(f"<li>{html.escape(text)}</li>" for text in self.warnings)
        parts = [f"<b>The Jacobian of {html.escape(self.model)}</b><ul>{said}</ul>"]
        parts += [f"<b>Warnings</b><ul>{doubts}</ul>"] if doubts else []
        with contextlib.suppress(ImportError, ValueError):  # no matplotlib, or nothing above 0
            parts.append(drawing().figure_svg(lambda figure: self.plot(figure.add_subplot())))
        parts.append(f"<details><summary>Numbers</summary>{html_table([self.summary()])}</details>")
        parts.append(f"<details><summary>Blocks</summary>{html_table(self.rows())}</details>")
        return "".join(parts)

    def __str__(self) -> str:
        return text(self)

    def __repr__(self) -> str:
        c = "None" if self.c is None else f"{self.c:.4g}"
        apart = distance(self.comparison)
        ks = "None" if apart is None else f"{apart:.3g}"
        return (
            f"Diagnosis({self.model}, c={c}, ks={ks}, {len(self.blocks)} blocks, "
            f"{len(self.outliers)} outliers)"
        )


def outliers(comparison: Comparison | None) -> tuple[Outlier, ...]:
    """Return the singular values that left the bulk, without zeros, which are told apart."""
    if comparison is None:
        return ()
    low, high = (math.sqrt(edge) for edge in comparison.edges)
    return tuple(
        Outlier(float(s), float(s / (high if s > high else low))) for s in left_bulk(comparison)
    )
