"""What a report is made of; every block writes itself as HTML and as Markdown."""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from isometry._result import format_table, html_table

Tone: TypeAlias = Literal["good", "bad", "open", ""]
"""What a colour may add to words: it is well, it is not, it is not decided; or nothing."""


@dataclass(frozen=True)
class Paragraph:
    """Running text.

    Args:
        text: Plain text; it is escaped in HTML and taken as it is in Markdown.
    """

    text: str

    def html(self) -> str:
        """Return the text as an HTML element."""
        return f"<p>{inline(self.text)}</p>"

    def markdown(self, images: Iterator[str]) -> str:  # noqa: ARG002
        """Return the text."""
        return self.text


@dataclass(frozen=True)
class Code:
    """A command or a program, kept letter by letter.

    Args:
        text: Its lines.
        title: Folds the lines under these words, where there are any.
    """

    text: str
    title: str = ""

    def html(self) -> str:
        """Return the lines as an HTML element."""
        return _folded(self.title, f"<pre><code>{html.escape(self.text)}</code></pre>")

    def markdown(self, images: Iterator[str]) -> str:  # noqa: ARG002
        """Return the lines in a fence longer than any inside."""
        inside = max((len(run) for run in re.findall("`+", self.text)), default=0)
        fence = "`" * max(3, inside + 1)
        above = f"{self.title}:\n\n" if self.title else ""
        return f"{above}{fence}\n{self.text}\n{fence}"


@dataclass(frozen=True)
class Table:
    """Rows under the names of their columns, which sort in HTML; folded where it has a title.

    Args:
        rows: A dictionary a row; the first names the columns.
        caption: A sentence above the table.
        title: Folds the table under these words, where there are any.
    """

    rows: Sequence[Mapping[str, Any]]
    caption: str = ""
    title: str = ""

    def html(self) -> str:
        """Return the table as an HTML element that scrolls by itself where it is too wide."""
        above = f'<p class="note">{inline(self.caption)}</p>' if self.caption else ""
        table = f'{above}<div class="table" tabindex="0">{html_table(self.rows)}</div>'
        count = f" ({len(self.rows)} row{'' if len(self.rows) == 1 else 's'})"
        return _folded(self.title and self.title + count, table)

    def markdown(self, images: Iterator[str]) -> str:  # noqa: ARG002
        """Return the table in Markdown's columns."""
        above = "\n\n".join(
            text for text in (self.title and f"{self.title}:", self.caption) if text
        )
        escaped = [
            {str(k).replace("|", r"\|"): _one_line(v) for k, v in row.items()} for row in self.rows
        ]
        return f"{above}\n\n{format_table(escaped, markdown=True)}".lstrip()


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
        caption = inline(self.caption)
        width = re.search(r'\bwidth="([\d.]+)pt"', self.svg)
        legible = f' style="min-width:{0.55 * float(width[1]):.0f}pt"' if width else ""
        svg = self.svg.replace("<svg", f'<svg role="img" aria-label="{caption}"{legible}', 1)
        return f"<figure><div>{svg}</div><figcaption>{caption}</figcaption></figure>"

    def markdown(self, images: Iterator[str]) -> str:
        """Return a reference to the next of the files."""
        return f"![{_one_line(self.caption)}]({next(images)})\n\n{self.caption}"


@dataclass(frozen=True)
class Point:
    """One of several things to be said.

    Args:
        text: The sentence.
        badge: A word in front, such as a verdict.
        tone: What the badge's colour says again.
        more: What a reader needs besides: numbers, a remedy.
    """

    text: str
    badge: str = ""
    tone: Tone = ""
    more: str = ""


@dataclass(frozen=True)
class Points:
    """A list.

    Args:
        points: In order.
    """

    points: Sequence[Point]

    def html(self) -> str:
        """Return the list as an HTML element."""
        return f'<ul class="points">{"".join(map(_item, self.points))}</ul>'

    def markdown(self, images: Iterator[str]) -> str:  # noqa: ARG002
        """Return the list with a dash a line."""
        lines = []
        for point in self.points:
            badge = f"**{point.badge}**: " if point.badge else ""
            lines.append(f"- {badge}{point.text}" + (f" {point.more}" if point.more else ""))
        return "\n".join(lines)


@dataclass(frozen=True)
class Beside:
    """Two columns where there is room for them, one below the other elsewhere.

    Args:
        left: Blocks of the first column.
        right: Blocks of the second one.
    """

    left: Sequence["Block"]
    right: Sequence["Block"]

    def html(self) -> str:
        """Return both columns as an HTML element."""
        columns = ("".join(block.html() for block in side) for side in (self.left, self.right))
        return f'<div class="beside">{"".join(f"<div>{text}</div>" for text in columns)}</div>'

    def markdown(self, images: Iterator[str]) -> str:
        """Return the blocks in order."""
        return "\n\n".join(block.markdown(images) for block in (*self.left, *self.right))


Block: TypeAlias = Paragraph | Code | Table | Figure | Points | Beside


def figures(blocks: Sequence[Block]) -> Iterator[Figure]:
    """Yield the figures of blocks, and of the blocks inside, in the order of reading.

    Args:
        blocks: In order.
    """
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Beside):
            yield from figures([*block.left, *block.right])


def inline(text: str) -> str:
    """Return plain text as HTML, what stands between backticks as code.

    Args:
        text: Of one line or several; anything else that HTML could read is escaped.
    """
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(text))


def _item(point: Point) -> str:
    badge = f'<span class="badge">{html.escape(point.badge)}</span>' if point.badge else ""
    more = f'<p class="note">{inline(point.more)}</p>' if point.more else ""
    tone = f' class="{point.tone}"' if point.tone else ""
    return f"<li{tone}><p>{badge}{inline(point.text)}</p>{more}</li>"


def _folded(title: str, inside: str) -> str:
    """Return an element that opens on demand; one without a title stands open."""
    if not title:
        return inside
    return f"<details><summary>{html.escape(title)}</summary>{inside}</details>"


def _one_line(value: Any) -> Any:
    """Return text that cannot leave its cell or its brackets; other values as they are."""
    if not isinstance(value, str):
        return value
    return re.sub(r"([|\[\]])", r"\\\1", " ".join(value.split()))
