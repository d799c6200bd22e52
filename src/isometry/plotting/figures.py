"""What every drawing shares: colours, axes, and a figure as text for a page."""

import importlib
import io
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isometry._checks import shown
from isometry._typing import Checked

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1")
"""Colours told apart with any colour vision, on white and on black; the first six: Okabe-Ito."""

_INK = "#010203"  # stands for the colour of the surrounding text until the SVG is written
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _INK,
    "axes.facecolor": "none",
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "font.size": 10,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "isometry",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def axes_or_new(ax: Checked[Axes | None]) -> Axes:
    """Return ``ax``, or the axes of a new figure of pyplot's, so that a notebook shows it.

    Args:
        ax: Axes or None.

    Raises:
        TypeError: If ``ax`` is something else.
    """
    if ax is None:
        pyplot = importlib.import_module("matplotlib.pyplot")  # slow, and with a state of its own
        return pyplot.subplots(layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise TypeError(f"`ax` is {shown(ax)}; expected matplotlib axes, e.g. `plt.gca()`.")
    return ax


def figure_svg(draw: Callable[[Figure], None], figsize: tuple[float, float] = (6.4, 3.8)) -> str:
    """Return a figure as an SVG element for a page: the same bytes for the same drawing.

    The background is transparent and the ink is the colour of the surrounding text, so that the
    figure is readable on a light and on a dark page.

    Args:
        draw: Called with an empty figure.
        figsize: Width and height in inches.

    Returns:
        One ``<svg>`` element without prolog, date or identifiers of groups.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=figsize)
        draw(figure)
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    return re.sub(r'<g id="[^"]*"', "<g", svg).replace(_INK, "currentColor")


def write_figure(
    path: str | os.PathLike[str],
    draw: Callable[[Axes], object],
    figsize: tuple[float, float] = (6.4, 3.8),
) -> Path:
    """Write one drawing to a file, whole or not at all; its ending says in which format.

    Args:
        path: File to write; its folder must exist.
        draw: Called with the axes of an empty figure.
        figsize: Width and height in inches.

    Returns:
        The path.

    Raises:
        OSError: If the file cannot be written there.
        ValueError: If matplotlib knows no format of that ending.
    """
    target = Path(path)
    figure = Figure(figsize=figsize, layout="constrained")
    draw(figure.add_subplot())
    content = io.BytesIO()
    figure.savefig(content, format=target.suffix[1:] or "svg", dpi=150)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(handle, "wb") as stream:
            stream.write(content.getvalue())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
    return target


def plain_numbers(ax: Axes) -> None:
    """Write 0.02 and 15 at the ticks of logarithmic axes that show few decades.

    Args:
        ax: Axes that hold what they will show.
    """
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if axis.get_scale() != "log":
            continue
        decades = np.log10(high / low)
        if decades < 0.7:
            axis.set_major_locator(ticker.MaxNLocator(6))
        elif decades < 2.5:
            axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        elif decades > 5:
            continue
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(ticker.NullFormatter())
        if decades < 0.7:
            axis.set_minor_locator(ticker.NullLocator())


def name_axes(ax: Axes, ordinate: str) -> None:
    """Label the axes, with plain numbers at ticks that suit the decades shown."""
    ax.set_xscale("log")
    ax.set_xlabel("singular value s")
    ax.set_ylabel(ordinate)
    plain_numbers(ax)
