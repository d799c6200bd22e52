"""A report is one document written twice: a self-contained HTML page, and Markdown.

The page has no script and asks for nothing from outside: styles and figures are inside it. It is
readable on a phone and follows the reader's choice of a light or a dark page.
"""

import html
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isometry._result import format_table, html_table

__all__ = ["Block", "Code", "Figure", "Paragraph", "Report", "Section", "Table"]

_CSS = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
figure, .table { margin: 1.2rem 0; overflow-x: auto; }
svg { display: block; max-width: 100%; height: auto; }
figcaption, .caption { font-size: .9rem; opacity: .8; margin: .4rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid var(--line); } td { border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
td:first-child { white-space: normal; }
tbody tr:nth-child(even) { background: var(--soft); }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; }
"""
# A file of its own has no surrounding text to take its ink from.
_SVG_INK = (
    "<style>svg { color: #111 } @media (prefers-color-scheme: dark) { svg { color: #eee } }</style>"
)


@dataclass(frozen=True)
class Paragraph:
    """Running text.

    Args:
        text: Plain text; it is escaped in HTML and taken as it is in Markdown.
    """

    text: str

    def html(self) -> str:
        """Return the text as an HTML element."""
        return f"<p>{html.escape(self.text)}</p>"

    def markdown(self, image: str) -> str:  # noqa: ARG002
        """Return the text."""
        return self.text


@dataclass(frozen=True)
class Code:
    """A command or a program, kept letter by letter.

    Args:
        text: Its lines.
    """

    text: str

    def html(self) -> str:
        """Return the lines as an HTML element."""
        return f"<pre><code>{html.escape(self.text)}</code></pre>"

    def markdown(self, image: str) -> str:  # noqa: ARG002
        """Return the lines in a fence longer than any inside."""
        inside = max((len(run) for run in re.findall("`+", self.text)), default=0)
        fence = "`" * max(3, inside + 1)
        return f"{fence}\n{self.text}\n{fence}"


@dataclass(frozen=True)
class Table:
    """Rows under the names of their columns.

    Args:
        rows: A dictionary a row; the first names the columns.
        caption: A sentence above the table.
    """

    rows: Sequence[Mapping[str, Any]]
    caption: str = ""

    def html(self) -> str:
        """Return the table as an HTML element that scrolls by itself where it is too wide."""
        above = f'<p class="caption">{html.escape(self.caption)}</p>' if self.caption else ""
        return f'{above}<div class="table">{html_table(self.rows)}</div>'

    def markdown(self, image: str) -> str:  # noqa: ARG002
        """Return the table in Markdown's columns."""
        above = f"{self.caption}\n\n" if self.caption else ""
        escaped = [
            {str(k).replace("|", r"\|"): _one_line(v) for k, v in row.items()} for row in self.rows
        ]
        return above + format_table(escaped, markdown=True)


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption.

    Args:
        svg: One ``<svg>`` element, as :func:`isometry.plotting.figure_svg` returns it.
        caption: What is seen; also read out in place of the figure.

    Raises:
        ValueError: If ``svg`` is anything but one SVG element without a script.
    """

    svg: str
    caption: str

    def __post_init__(self) -> None:
        whole = self.svg.startswith("<svg") and self.svg.rstrip().endswith("</svg>")
        if not whole or re.search(r"<script|\son\w+\s*=", self.svg, re.IGNORECASE):
            raise ValueError(
                f"`svg` begins with {self.svg[:20]!r}; expected one <svg> element without a "
                "script. Draw it with isometry.plotting.figure_svg."
            )

    def html(self) -> str:
        """Return the drawing itself, with its caption below."""
        caption = html.escape(self.caption)
        width = re.search(r'\bwidth="([\d.]+)pt"', self.svg)
        legible = f' style="min-width:{0.6 * float(width[1]):.0f}pt"' if width else ""
        svg = self.svg.replace("<svg", f'<svg role="img" aria-label="{caption}"{legible}', 1)
        return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"

    def markdown(self, image: str) -> str:
        """Return a reference to the file ``image``."""
        return f"![{_one_line(self.caption)}]({image})\n\n{self.caption}"


Block = Paragraph | Code | Table | Figure


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Args:
        title: The heading.
        blocks: Paragraphs, tables, figures and code, in order.
    """

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """A titled sequence of sections.

    Args:
        title: Heading of the page.
        sections: In order.
    """

    title: str
    sections: Sequence[Section]

    def html(self) -> str:
        """Return the whole page."""
        body = [f"<h1>{html.escape(self.title)}</h1>"]
        for section in self.sections:
            body.append(f"<h2>{html.escape(section.title)}</h2>")
            body += [block.html() for block in section.blocks]
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(self.title)}</title>\n<style>{_CSS}</style></head>\n<body>\n"
            + "\n".join(body)
            + "\n</body></html>\n"
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
        parts, number = [f"# {self.title}"], 0
        for section in self.sections:
            parts.append(f"## {section.title}")
            for block in section.blocks:
                if isinstance(block, Figure):
                    number += 1
                    file = target.with_name(f"{target.stem}-{number}.svg")
                    write_text(file, block.svg.replace("</svg>", f"{_SVG_INK}</svg>") + "\n")
                parts.append(block.markdown(f"{target.stem}-{number}.svg"))
        return write_text(target, "\n\n".join(parts) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a UTF-8 file under a temporary name, then rename it.

    Args:
        path: File to write; its folder must exist.
        text: The content.

    Returns:
        The path.

    Raises:
        OSError: If the file cannot be written there.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(handle, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as err:
        raise OSError(
            f"`path` is {str(target)!r}, which cannot be written ({err.strerror}); expected a "
            "file in a folder that exists and may be written to. Choose another path."
        ) from err
    return target


def _one_line(value: Any) -> Any:
    """Return text that cannot leave its cell or its brackets; other values as they are."""
    if not isinstance(value, str):
        return value
    return re.sub(r"([|\[\]])", r"\\\1", " ".join(value.split()))
