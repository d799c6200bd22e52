"""A lint report as a page."""

from typing import TYPE_CHECKING

from isometry._result import drawing
from isometry.report.blocks import Block, Code, Figure, Paragraph, Point, Points, Table, Tone
from isometry.report.page import Origin, Report, Section

if TYPE_CHECKING:
    from isometry.nn.linting.finding import LintReport

_TONES: dict[str, Tone] = {"error": "bad", "warning": "open", "note": ""}
_IN_PYTHON = Origin(["print(inn.lint(model, x))"])


def lint_page(report: "LintReport", origin: Origin = _IN_PYTHON) -> Report:
    """Return a lint report as a page: the verdict, the scales, the findings, the roles.

    Args:
        report: What was found.
        origin: How to get it again.

    Returns:
        The page.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    worst = report.worst("warning")
    said = [text for text in (report.law, report.recipe) if text]
    said += [f"Not looked at: {report.remark}."] if report.remark else []
    sections = [
        Section(title, blocks)
        for title, blocks in (
            ("Findings", _findings(report)),
            ("What it follows", [Paragraph(text) for text in said]),
            ("In detail", _tables(report)),
        )
        if blocks
    ]
    return Report(
        f"The initialisation of {report.model}",
        _verdict(report),
        sections,
        tone=_TONES[worst[0].severity] if worst else "good",
        numbers={"parameters and buffers": len(report.parts)}
        | {f"{word}s": len(report.of(word)) for word in ("error", "warning", "note")},
        figure=_figure(report),
        origin=origin,
    )


def _verdict(report: "LintReport") -> str:
    counted = report.counted()
    if not report.findings:
        return "The initialisation landed: nothing stands out."
    first = report.groups()[0]
    if first.severity == "note":
        return f"The initialisation landed: no error, no warning, {counted} on choices."
    name = f" in `{first.names}`" if first.names else ""
    return f"{counted}. The first{name}: {first.finding.message}"


def _findings(report: "LintReport") -> list[Block]:
    points = [
        Point(
            f"{group.names}: {group.finding.message}".removeprefix(": "),
            f"{group.severity}: {group.finding.rule}",
            _TONES[group.severity],
            group.finding.remedy,
        )
        for group in report.groups()
    ]
    return [Points(points)] if points else []


def _figure(report: "LintReport") -> Figure | None:
    if not any(summary.rms > 0 for summary in report.summaries.values()):
        return None
    svg = drawing().figure_svg(lambda f: report.plot(f.add_subplot()), figsize=(7.2, 3.4))
    return Figure(
        svg,
        "How large the entries of every map, gain and table are, in the model's order, by role; "
        "rings mark what a warning or an error is about, crosses what is 0 or not finite.",
    )


def _tables(report: "LintReport") -> list[Block]:
    numbers = {name: (s.rms, s.mean) for name, s in report.summaries.items()}
    rows = []
    for part in report.parts:
        rms, mean = numbers.get(part.name, (None, None))
        shape = " x ".join(map(str, part.shape)) or "scalar"
        rows.append(
            {"name": part.name, "role": part.role, "shape": shape}
            | {"root mean square": rms, "mean": mean}
        )
    tables: list[Block] = [Table(rows, title="Roles and sizes")] if rows else []
    return [*tables, Code(str(report), title="As a terminal shows it")]
