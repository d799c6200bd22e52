"""A diagnosis on a terminal: numbers, the table of blocks, sentences."""

import math
import textwrap
from typing import Any

from isometry._result import format_cell, format_table

_MOST_BLOCKS = 60
_WIDTH = 96


def text(d: Any) -> str:
    """Return the whole report."""
    shape = " x ".join(map(str, d.input_shape))
    parts = [
        f"{d.model} at an input of {shape}, {d.dtype} ({d.conditions})",
        _law_lines(d),
        format_table(_comparison_rows(d)),
    ]
    if d.blocks:
        parts.append(_block_table(d.rows()))
    parts += _section("Findings", d.findings)
    parts += _section("Warnings", d.warnings)
    parts += _section("Parameters", [str(finding) for finding in d.parameters])
    return "\n\n".join(parts)


def _law_lines(d: Any) -> str:
    if d.c is None:
        return textwrap.fill(f"No prediction for the {d.measured}: {d.reason}", _WIDTH)
    return (
        f"c     = {d.c:.4g} ± {d.c_standard_error:.2g}\n"
        f"scale = {d.scale:.4g} ± {d.scale_standard_error:.2g}"
    )


def _comparison_rows(d: Any) -> list[dict[str, Any]]:
    """Return the table of singular values, measured and predicted."""
    head = f"s of the {d.measured}"
    values = d.spectrum.values[d.spectrum.values > 0]
    if not len(values):
        return [{head: "", "measured": 0.0}]
    resolved = d.spectrum.unresolved[0] == d.spectrum.unresolved[1]
    c = d.comparison
    if c is None:
        lowest = float(values[0]) if resolved else None
        edges = [("s smallest above 0", lowest), ("s largest", float(values[-1]))]
        return [{head: name, "measured": _s(lam)} for name, lam in edges]
    median = float(d.spectrum.icdf(0.5)) if d.spectrum.resolves(0.5) else None
    rows = [
        ("lower edge of the bulk", c.edges[0], c.measured_edges[0]),
        ("median", d.law.icdf(0.5), median),
        ("upper edge of the bulk", c.edges[1], c.measured_edges[1]),
    ]
    table = [
        {head: name, "predicted": math.sqrt(float(predicted)), "measured": _s(measured)}
        for name, predicted, measured in rows
    ]
    names = list(table[0])
    table.append(dict(zip(names, ("outliers", None, _outliers(d.outliers)), strict=True)))
    table.append(dict(zip(names, ("Kolmogorov-Smirnov distance", None, c.ks), strict=True)))
    return table


def _s(lam: float | None) -> float | str:
    return "unresolved" if lam is None else math.sqrt(lam)


def _outliers(outliers: Any) -> str:
    shown = ", ".join(format_cell(outlier.singular_value) for outlier in outliers[::-1][:4])
    return (shown + (" ..." if len(outliers) > 4 else "")) or "none"


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
        short[key] = f"{format_cell(row[key])} ± {row[key + ' s.e.']:.1g}"
    return short | {"share of c": f"{row['share of c']:.1%}"}


def _section(title: str, sentences: Any) -> list[str]:
    if not sentences:
        return []
    filled = [
        textwrap.fill(sentence, _WIDTH, initial_indent="- ", subsequent_indent="  ")
        for sentence in sentences
    ]
    return ["\n".join([title, *filled])]
