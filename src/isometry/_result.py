"""What every result can do: print itself, become a dictionary, a data frame or a notebook table."""

import dataclasses
import html
import importlib
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, ClassVar, cast

import numpy as np

from isometry._typing import Axes, Checked


def plain(value: object) -> Any:
    """Return ``value`` made of JSON's types: arrays become lists, results dictionaries.

    Raises:
        TypeError: If something in it is of a type that has no place in JSON.
    """
    if isinstance(value, Record):
        return value._content()  # pyright: ignore[reportPrivateUsage]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return cast(Any, value).item()
    if isinstance(value, Mapping):
        pairs = cast(Mapping[object, object], value)
        return {str(key): plain(item) for key, item in pairs.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in cast(Iterable[object], value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (PurePath, Worded)):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no place in JSON; expected numbers and words.")


def strict(value: Any) -> Any:
    """Return what :func:`plain` returned with words for numbers that JSON cannot hold.

    They are "inf", "-inf" and "nan", which Python's ``float`` reads.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: strict(item) for key, item in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [strict(item) for item in cast(list[Any], value)]
    return value


def format_cell(value: object) -> str:
    """Return a table cell: numbers with four significant digits, nothing for ``None``."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return f"{float(cast(float, value)):.4g}"
    if isinstance(value, list):
        return ", ".join(format_cell(item) for item in cast(list[object], value))
    return str(value)


def format_table(rows: Sequence[Mapping[str, Any]], *, markdown: bool = False) -> str:
    """Return ``rows`` as an aligned text or Markdown table; the first row names the columns."""
    if not rows:
        return "(empty)"
    head = list(rows[0])
    cells = [head] + [[format_cell(row.get(key)) for key in head] for row in rows]
    least = 2 if markdown else 1  # a Markdown rule of one character cannot say ":"
    width = [max(least, *(len(line[j]) for line in cells)) for j in range(len(head))]
    left = [isinstance(rows[0].get(key), str) for key in head]
    lines = [
        [t.ljust(w) if flush else t.rjust(w) for t, w, flush in zip(line, width, left, strict=True)]
        for line in cells
    ]
    if not markdown:
        rule = ["-" * w for w in width]
        return "\n".join("  ".join(line).rstrip() for line in [lines[0], rule, *lines[1:]])
    rule = ["-" * w if flush else "-" * (w - 1) + ":" for w, flush in zip(width, left, strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def drawing() -> Any:
    """Return the module that draws: it stands above all results, so they call it by its name.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    return importlib.import_module("isometry.plotting")


class Drawn:
    """Mixin of what draws itself: :meth:`plot` is the same for all, ``_draw`` is their own."""

    def plot(self, ax: Checked[Axes | None] = None) -> Any:
        """Draw it: the picture that its class describes.

        Args:
            ax: Matplotlib axes; those of a new figure without.

        Returns:
            The axes.

        Raises:
            ImportError: If matplotlib is not installed.
            ValueError: If there is nothing to draw: every value is 0, or nothing was measured.
        """
        room = drawing()
        axes = room.axes_or_new(ax)
        self._draw(room, axes)
        return axes

    def _draw(self, room: Any, ax: Any) -> None:
        """Draw on the axes with the functions of :mod:`isometry.plotting`."""
        raise NotImplementedError


class Paged:
    """Mixin of what has a page of its own in :mod:`isometry.report`."""

    def save_html(self, path: Checked[str | os.PathLike[str]]) -> Path:
        """Write a page to send on: the verdict, the figure, the findings, the tables.

        Args:
            path: File to write; its folder must exist.

        Returns:
            The path.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If the file cannot be written there.
        """
        room = importlib.import_module("isometry.report")
        page = getattr(room, f"{self._page}_page")
        return page(self).write_html(path)

    _page: ClassVar[str]
    """What its page is called: ``lint`` for :func:`isometry.report.lint_page`."""


def html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return ``rows`` as an HTML table, every cell escaped; columns of words are of that class."""
    if not rows:
        return "<p>(empty)</p>"
    kinds = {key: ' class="words"' if isinstance(rows[0][key], str) else "" for key in rows[0]}
    head = "".join(f"<th{kind}>{html.escape(str(key))}</th>" for key, kind in kinds.items())
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{html.escape(format_cell(row.get(key)))}</td>"
            for key, kind in kinds.items()
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Worded:
    """Marker of what is one word in JSON: ``str`` of it, by which it can be had again."""


class Record:
    """Mixin of the frozen dataclasses that become JSON, by :meth:`to_dict`."""

    _version: ClassVar[int] = 1
    """Raised whenever a key of :meth:`to_dict` goes, or changes its meaning or its type."""
    _also: ClassVar[tuple[str, ...]] = ()
    """Properties, and fields that are not in ``repr``, which :meth:`to_dict` gives besides."""

    @classmethod
    def _schema(cls) -> str:
        """Return the name and version of what :meth:`to_dict` gives: "isometry/spectrum/1"."""
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()
        return f"isometry/{words}/{cls._version}"

    @classmethod
    def _keys(cls) -> tuple[str, ...]:
        """Return the keys of :meth:`to_dict` besides "schema"."""
        fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
        return (*(field.name for field in fields if field.repr), *cls._also)

    def _content(self) -> dict[str, Any]:
        """Return the fields as Python's numbers, words, lists and dictionaries."""
        return {key: plain(getattr(self, key)) for key in self._keys()}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON's types: arrays as lists, nested results as dictionaries.

        ``schema`` names kind and version; ``isometry schema`` prints what each of them holds. A
        number that JSON cannot hold is one of the words "inf", "-inf" and "nan".
        """
        return {"schema": self._schema(), **strict(self._content())}


class Result(Record):
    """Mixin of the frozen result dataclasses.

    A result with a table inside overrides :meth:`rows`; it then has ``to_frame`` as well.
    """

    def summary(self) -> dict[str, Any]:
        """Return the scalars, for a logger or a table of many results."""
        return {k: v for k, v in self._content().items() if not isinstance(v, (list, dict))}

    def rows(self) -> list[dict[str, Any]]:
        """Return the table inside, a dictionary a row; by default one row of the scalar fields."""
        return [self.summary()]

    def to_frame(self) -> Any:
        """Return :meth:`rows` as a ``pandas.DataFrame``.

        Raises:
            ImportError: If pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise ImportError("`to_frame` needs pandas; run `pip install pandas`.") from None
        return pandas.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        return html_table(self.rows())
