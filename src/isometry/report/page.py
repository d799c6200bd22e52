"""A report is one document written twice: a self-contained HTML page, and Markdown.

Whoever opens it sees the verdict, a few numbers and a figure first; then what was found, tables to
unfold and to sort, and how to get the page again. The page asks for nothing from outside: its
content security policy forbids it everything but its own style and its own script.
"""

import base64
import functools
import hashlib
import html
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path

from isometry._result import format_cell
from isometry.report.blocks import Block, Code, Figure, Paragraph, Tone, figures, inline
from isometry.report.files import write_text

# A file of its own has no surrounding text to take its ink from.
_SVG_INK = (
    "<style>svg { color: #111 } @media (prefers-color-scheme: dark) { svg { color: #eee } }</style>"
)


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Args:
        title: The heading.
        blocks: Paragraphs, points, tables, figures and code, in order.
    """

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Origin:
    """How to get a page again.

    Args:
        commands: Lines to type: commands of a shell, or Python.
        facts: What the numbers depend on besides, such as a seed.
        versions: From a package to its version; what is installed here, without.
    """

    commands: Sequence[str]
    facts: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] | None = None

    def section(self) -> Section:
        """Return the last section of a page."""
        versions = installed() if self.versions is None else self.versions
        said = [f"{name}: {format_cell(value)}" for name, value in self.facts.items()]
        said += [", ".join(f"{name} {number}" for name, number in versions.items())] * bool(
            versions
        )
        return Section(
            "To get this again", [Code("\n".join(self.commands)), Paragraph("; ".join(said) + ".")]
        )


@dataclass(frozen=True)
class Report:
    """A titled page.

    Args:
        title: What the page is about.
        verdict: The one sentence that a reader takes along.
        tone: Whether it is good, bad or open; a colour beside the words, or nothing.
        numbers: The few that belong to it, by name.
        figure: What shows it; None for a page without.
        sections: The rest, in order.
        origin: How to get the page again.
    """

    title: str
    verdict: str
    sections: Sequence[Section]
    tone: Tone = ""
    numbers: Mapping[str, object] = field(default_factory=dict)
    figure: Figure | None = None
    origin: Origin | None = None

    def html(self) -> str:
        """Return the whole page."""
        style, script = asset("style.css"), asset("page.js")
        body = "\n".join(map(_section, self._sections()))
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(self.title)}</title>\n<style>{style}</style></head>\n"
            f"<body>\n<header>{self._header()}</header>\n<main>\n{body}\n</main>\n"
            f'<script type="module">{script}</script>\n</body></html>\n'
        )

    def write_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to one file, which is either the old one or the whole new one.

        Args:
            path: File to write; its folder must exist.

        Returns:
            The path.

        Raises:
            OSError: If the file cannot be written there.
        """
        return write_text(path, self.html())

    def write_markdown(self, path: str | os.PathLike[str]) -> Path:
        """Write Markdown, and each figure to ``<stem>-<number>.svg`` beside it.

        Args:
            path: File to write; its folder must exist.

        Returns:
            The path.

        Raises:
            OSError: If a file cannot be written there.
        """
        target = Path(path)
        first = [self.figure] if self.figure else []
        drawn = figures([*first, *(b for part in self._sections() for b in part.blocks)])
        names: list[str] = []
        for number, figure in enumerate(drawn, 1):
            names.append(f"{target.stem}-{number}.svg")
            svg = figure.svg.replace("</svg>", f"{_SVG_INK}</svg>") + "\n"
            write_text(target.with_name(names[-1]), svg)
        return write_text(target, "\n\n".join(self._markdown(iter(names))) + "\n")

    def _sections(self) -> list[Section]:
        return [*self.sections, *([self.origin.section()] if self.origin else [])]

    def _header(self) -> str:
        tone = f" {self.tone}" if self.tone else ""
        pairs = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(format_cell(value))}</dd></div>"
            for name, value in self.numbers.items()
        )
        parts = [
            f"<h1>{html.escape(self.title)}</h1>",
            f'<p class="verdict{tone}">{inline(self.verdict)}</p>',
            f'<dl class="numbers">{pairs}</dl>' if pairs else "",
            self.figure.html() if self.figure else "",
        ]
        return "\n".join(part for part in parts if part)

    def _markdown(self, images: Iterator[str]) -> Iterator[str]:
        yield f"# {self.title}"
        yield f"**{self.verdict}**"
        if self.numbers:
            yield "; ".join(f"{name}: {format_cell(v)}" for name, v in self.numbers.items()) + "."
        if self.figure:
            yield self.figure.markdown(images)
        for section in self._sections():
            yield f"## {section.title}"
            for block in section.blocks:
                yield block.markdown(images)


def installed() -> dict[str, str]:
    """Return the versions that the numbers of a page depend on: of Python and of what it uses."""
    found = {"Python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("isometry", "torch", "numpy", "scipy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def asset(name: str) -> str:
    """Return the style or the script of the pages."""
    return resources.files("isometry.report").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Return what a page may do; figures carry styles of their own, hence the word for those."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def _section(section: Section) -> str:
    inside = "\n".join(block.html() for block in section.blocks)
    return f"<section><h2>{html.escape(section.title)}</h2>\n{inside}</section>"
