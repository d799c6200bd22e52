"""What the summaries of the studies share: groups, slopes, intervals and two kinds of figures."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from isometry._typing import Real
from isometry.experiments.engine.runs import Run
from isometry.plotting import PALETTE, figure_svg, plain_numbers
from isometry.report import Figure

_DASHES = ("-", "--", ":")
_MARKS = "os^Dv<>P"
_SIZE = (6.0, 3.6)
_ROOM = 50  # letters that fit in a line as wide as the axes


def grouped(
    runs: Sequence[Run], keys: Sequence[str], average: Callable[[Sequence[Run]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return one row per combination of settings, with what ``average`` makes of its runs.

    Args:
        runs: Finished runs.
        keys: Settings that make a group; rows are sorted by them.
        average: From the runs of a group to the rest of the row.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.config.settings[key] for key in keys), []).append(run)
    return [
        dict(zip(keys, values, strict=True)) | average(groups[values]) for values in sorted(groups)
    ]


def slope(x: Sequence[Real], y: Sequence[Real]) -> float | None:
    """Return the exponent b of the best ``y = a x^b``; ``None`` for fewer than two points.

    Args:
        x: Positive numbers.
        y: Positive numbers.
    """
    if len(x) < 2:
        return None
    return float(np.polyfit(np.log(np.asarray(x)), np.log(np.asarray(y)), 1)[0])


def line_figure(
    curves: Mapping[str, Sequence[tuple[Real, Real]]],
    abscissa: str,
    ordinate: str,
    caption: str,
    *,
    scales: tuple[str, str] = ("log", "log"),
    ticks: Sequence[str] = (),
    wanted: Sequence[Real] = (),
) -> Figure:
    """Draw curves of points.

    Args:
        curves: From the entry of the legend to the points; a NaN interrupts the line.
        abscissa: Name of the horizontal axis.
        ordinate: Name of the vertical axis.
        caption: What is seen.
        scales: Of the two axes, "log" or "linear".
        ticks: What stands at 0, 1, 2, ... of the horizontal axis, in place of numbers.
        wanted: Bounds of a claim on the vertical axis, drawn as dotted lines.
    """

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        for number, (name, points) in enumerate(curves.items()):
            colour = PALETTE[number % len(PALETTE)]
            dashes = _DASHES[number // len(PALETTE) % len(_DASHES)]
            x, y = zip(*points, strict=True) if points else ((), ())
            marker = "o" if len(points) < 16 else ""
            ax.plot(x, y, color=colour, linestyle=dashes, marker=marker, markersize=3.5, label=name)
        _finish(ax, (abscissa, ordinate), scales, wanted)
        if ticks:
            long = sum(map(len, ticks)) > _ROOM
            slanted = {"rotation": 20, "ha": "right"} if long else {}
            ax.set_xticks(range(len(ticks)), ticks, fontsize="small", **slanted)

    return Figure(figure_svg(draw, _SIZE), caption)


def point_figure(
    groups: Mapping[str, Sequence[tuple[Real, Real]]],
    abscissa: str,
    ordinate: str,
    caption: str,
    *,
    scales: tuple[str, str] = ("log", "log"),
    wanted: Sequence[Real] = (),
) -> Figure:
    """Draw points in groups, each of a colour and a mark of its own.

    Args:
        groups: From the entry of the legend to the points; one with a NaN is left out.
        abscissa: Name of the horizontal axis.
        ordinate: Name of the vertical axis.
        caption: What is seen.
        scales: Of the two axes, "log" or "linear".
        wanted: Bounds of a claim on the vertical axis, drawn as dotted lines.
    """

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        for number, (name, points) in enumerate(groups.items()):
            x, y = zip(*points, strict=True) if points else ((), ())
            style = {
                "color": PALETTE[number % len(PALETTE)],
                "marker": _MARKS[number % len(_MARKS)],
            }
            ax.plot(x, y, linestyle="none", markersize=5, alpha=0.75, label=name, **style)
        _finish(ax, (abscissa, ordinate), scales, wanted)

    return Figure(figure_svg(draw, _SIZE), caption)


def or_nan(value: Real | None) -> Real:
    """Return a number; NaN for what was not measured, which a figure leaves out."""
    return math.nan if value is None else value


def _finish(
    ax: Any,
    axes: tuple[str, str],
    scales: tuple[str, str],
    wanted: Sequence[Real],
) -> None:
    """Name and scale the axes, draw the bounds, and set the legend where it covers nothing."""
    for number, bound in enumerate(wanted):
        label = None if number else "wanted"
        ax.axhline(bound, color="gray", linestyle=":", linewidth=1.4, label=label)
    positive = np.isfinite(ax.dataLim.minpos)  # a logarithm has no place for zeros alone
    kinds = [scale if some else "linear" for scale, some in zip(scales, positive, strict=True)]
    ax.set(xlabel=axes[0], ylabel=axes[1], xscale=kinds[0], yscale=kinds[1])
    plain_numbers(ax)
    names = ax.get_legend_handles_labels()[1]
    if len(names) > 5:
        place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    else:
        columns = 3 if sum(map(len, names)) <= _ROOM else 2
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": columns}
    ax.legend(fontsize="small", **place)
