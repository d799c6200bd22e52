"""A diagnosis on a terminal: numbers, the table of blocks, sentences."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from isometry._result import format_cell, format_table
from isometry.nn.diagnosis.verdicts import distance
from isometry.nn.linting.finding import grouped
from isometry.theory.comparison import compare

_MOST_BLOCKS = 60
_WIDTH = 96


def text(d: Any) -> str:
    """Return the whole report."""
    shape = " x ".join(map(str, d.input_shape))
    parts = [
        f"{d.model} at an input of {shape}, {d.dtype}\n" + _indented(d.conditions),
        _law_lines(d),
        format_table(_comparison_rows(d)),
    ]
    if d.blocks:
        parts.append(_block_table(d.rows()))
    parts += _section("Findings", d.findings)
    parts += _section("Warnings", d.warnings)
    parts += _section("Parameters", [str(group) for group in grouped(d.parameters)])
    return "\n\n".join(parts)


def with_error(value: float, standard_error: float) -> str:
    """Return a number with its standard error, where that is not 0: small blocks are exact.

    Examples:
        >>> with_error(0.51984, 0.0123), with_error(0.51984, 0.0)
        ('0.5198 ± 0.01', '0.5198')
    """
    return format_cell(value) + (f" ± {standard_error:.1g}" if standard_error else "")


def _indented(conditions: str) -> str:
    return textwrap.fill(conditions, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _law_lines(d: Any) -> str:
    if d.c is None:
        return textwrap.fill(f"No prediction for the {d.measured}: {d.reason}", _WIDTH)
    return (
        f"c     = {with_error(d.c, d.c_standard_error)}\n"
        f"scale = {with_error(d.scale, d.scale_standard_error)}"
    )


def _comparison_rows(d: Any) -> list[dict[str, Any]]:
    """Return the table of singular values: predicted, of the twin, measured."""
    head = f"s of the {d.measured}"
    values = d.spectrum.values[d.spectrum.values > 0]
    if not len(values):
        return [{head: "", "measured": 0.0}]
    columns: dict[str, list[Any]] = {head: [*_LINES]}
    if d.comparison is not None:
        ks = distance(d.comparison)
        columns["predicted"] = [*_predicted(d.law, d.comparison), None, ks]
    if d.product_comparison is not None:
        product = _predicted(d.product_law, d.product_comparison)
        columns["product law"] = [*product, None, d.product_comparison.ks]
    if d.twin is not None:
        law = d.law or d.product_law
        beside = None if d.comparison is None or law is None else compare(d.twin, law)
        left = None if beside is None else _largest(np.sqrt(beside.outlier_lam).tolist())
        columns["twin"] = [*_measured(d.twin, beside), left, d.twin_comparison.ks]
    columns["measured"] = [
        *_measured(d.spectrum, d.comparison or d.product_comparison),
        _outliers(d.outliers),
        None,
    ]
    names = list(columns)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if d.comparison is None:
        rows[0][head], rows[2][head] = "s smallest above 0", "s largest"
        del rows[3]
    if len(names) == 2:
        rows = rows[:1] + rows[2:3]
    return rows


_LINES = (
    "lower edge of the bulk", "median", "upper edge of the bulk", "outliers",
    "Kolmogorov-Smirnov distance",
)  # fmt: skip


def _predicted(law: Any, comparison: Any) -> list[float]:
    low, high = comparison.edges
    return [math.sqrt(float(lam)) for lam in (low, law.icdf(0.5), high)]


def _measured(spectrum: Any, comparison: Any) -> list[float | str]:
    """Return the ends and the median of a measured spectrum, of its bulk where that is known."""
    values = spectrum.values[spectrum.values > 0]
    resolved = spectrum.unresolved[0] == spectrum.unresolved[1]
    low, high = (float(values[0]) if resolved else None), float(values[-1])
    if comparison is not None:
        low, end = comparison.measured_edges
        # an edge among values that are not told apart is none that was measured
        high = end if end >= spectrum.values[spectrum.above_unresolved()][0] else None
    median = float(spectrum.icdf(0.5)) if spectrum.resolves(0.5) else None
    return [_s(lam) for lam in (low, median, high)]


def _s(lam: float | None) -> float | str:
    return "unresolved" if lam is None else math.sqrt(lam)


def _outliers(outliers: Any) -> str:
    return _largest([outlier.singular_value for outlier in outliers])


def _largest(values: Sequence[float]) -> str:
    """Return the four largest of ascending singular values."""
    shown = ", ".join(format_cell(float(s)) for s in values[::-1][:4])
    return (shown + (" ..." if len(values) > 4 else "")) or "none"


def _block_table(rows: list[dict[str, Any]]) -> str:
    """Return the blocks; of very many those with the largest shares."""
    order = sorted(range(len(rows)), key=lambda i: -rows[i]["share of c"])[:_MOST_BLOCKS]
    table = format_table([_short(rows[i]) for i in sorted(order)])
    left = len(rows) - len(order)
    return table + (f"\n({left} blocks with smaller shares left out)" if left else "")


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with every standard error behind its number."""
    short: dict[str, Any] = {key: row[key] for key in ("block", "N")}
    if row["skip"] != 1.0:
        short["skip"] = row["skip"]
    for key in ("t", "v", "k", "c"):
        short[key] = with_error(row[key], row[key + " s.e."])
    short |= {"share of c": f"{row['share of c']:.1%}"}
    return short | ({"log range": row["log range"]} if "log range" in row else {})


def _section(title: str, sentences: Any) -> list[str]:
    if not sentences:
        return []
    filled = [
        textwrap.fill(sentence, _WIDTH, initial_indent="- ", subsequent_indent="  ")
        for sentence in sentences
    ]
    return ["\n".join([title, *filled])]
