"""Reports to send on: one page, verdict and figure first, in HTML and in Markdown."""

from isometry.report.blocks import (
    Beside,
    Block,
    Code,
    Figure,
    Paragraph,
    Point,
    Points,
    Table,
    Tone,
)
from isometry.report.diagnosis import diagnosis_page
from isometry.report.files import write_text
from isometry.report.lint import lint_page
from isometry.report.page import Origin, Report, Section

__all__ = [
    "Beside",
    "Block",
    "Code",
    "Figure",
    "Origin",
    "Paragraph",
    "Point",
    "Points",
    "Report",
    "Section",
    "Table",
    "Tone",
    "diagnosis_page",
    "lint_page",
    "write_text",
]
