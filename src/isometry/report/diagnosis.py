"""A diagnosis as a page."""

from typing import TYPE_CHECKING

from isometry._result import drawing
from isometry.report.blocks import Block, Code, Figure, Point, Points, Table, Tone
from isometry.report.page import Origin, Report, Section

if TYPE_CHECKING:
    from isometry.nn.diagnosis.result import Diagnosis

_TONES: dict[object, Tone] = {True: "good", False: "bad", "unresolved": "open"}
_POINT = 1 + 2e-3
"""Largest over smallest lam of what is one point: 16 bits leave 1e-3 in s."""
_IN_PYTHON = Origin(["print(inn.diagnose(model, x))"])


def diagnosis_page(found: "Diagnosis", origin: Origin = _IN_PYTHON) -> Report:
    """Return a diagnosis as a page: the verdict, the figure, what it means, blocks, audit.

    Args:
        found: What was measured.
        origin: How to get it again.

    Returns:
        The page.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    first, *others = [*found.findings, found.reason]
    means = [Point(text) for text in others if text]
    means += [Point(text, "doubt", "open") for text in found.warnings]
    sections = [Section("What it means", [Points(means)])] if means else []
    sections.append(Section("In detail", _tables(found)))
    shape = " x ".join(map(str, found.input_shape))
    origin = Origin(
        origin.commands,
        {"input": shape, "precision": found.dtype, "conditions": found.conditions, **origin.facts},
        origin.versions,
    )
    return Report(
        f"The Jacobian of {found.model}",
        first or "Nothing stands out.",
        sections,
        tone="open" if found.c is None else _TONES[found.isometric],
        numbers=_numbers(found),
        figure=_figure(found),
        origin=origin,
    )


def _numbers(found: "Diagnosis") -> dict[str, object]:
    summary = found.summary()
    shown: dict[str, object] = {}
    if found.c is not None:
        error = f" ± {found.c_standard_error:.1g}" if found.c_standard_error else ""
        shown["c"] = f"{found.c:.3g}{error}"
    names = {
        "bulk_condition_number": "s_max / s_min of the bulk",
        "ks": "distance to the law (KS)",
        "product_ks": "to the product law",
        "twin_ks": "to the twin",
        "singular_value_max": "largest s",
        "outliers": "outliers",
        "blocks": "blocks",
        "dimension": "singular values",
    }
    return shown | {name: summary[key] for key, name in names.items() if summary[key] is not None}


def _figure(found: "Diagnosis") -> Figure | None:
    if not found.spectrum.values[-1] > 0:
        return None
    svg = drawing().figure_svg(lambda f: found.plot(f.add_subplot()), figsize=(7.2, 3.4))
    return Figure(svg, _caption(found))


def _caption(found: "Diagnosis") -> str:
    """Return what the figure shows; a spectrum that is one point is drawn as one column."""
    values = found.spectrum.values
    if found.spectrum.unresolved == (0.0, 0.0) and 0 < values[-1] <= values[0] * _POINT:
        return (
            f"Every singular value of the {found.measured} is {values[-1] ** 0.5:.4g}, to rounding."
        )
    said = "under what the blocks predict" if found.law or found.product_law else "alone"
    return f"The measured singular values of the {found.measured} {said}."


def _tables(found: "Diagnosis") -> list[Block]:
    tables: list[Block] = []
    if found.blocks:
        tables.append(Table(found.rows(), title="Blocks"))
    if found.parameters:
        audit = [row for finding in found.parameters for row in finding.rows()]
        tables.append(Table(audit, title="Parameters to look at"))
    numbers = [{"number": name, "value": value} for name, value in found.summary().items()]
    tables.append(Table(numbers, title="All numbers"))
    return [*tables, Code(str(found), title="As a terminal shows it")]
