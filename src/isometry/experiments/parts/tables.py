"""What the summaries of the studies share: groups, slopes, intervals and one kind of figure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from isometry._typing import Real
from isometry.experiments.engine.runs import Run
from isometry.plotting import PALETTE, figure_svg, plain_numbers
from isometry.report import Figure

_DASHES = ("-", "--", ":")


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
) -> Figure:
    """Draw curves of points.

    Args:
        curves: From the entry of the legend to the points; a NaN interrupts the line.
        abscissa: Name of the horizontal axis.
        ordinate: Name of the vertical axis.
        caption: What is seen.
        scales: Of the two axes, "log" or "linear".
        ticks: What stands at 0, 1, 2, ... of the horizontal axis, in place of numbers.
    """

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        for number, (name, points) in enumerate(curves.items()):
            colour = PALETTE[number % len(PALETTE)]
            dashes = _DASHES[number // len(PALETTE) % len(_DASHES)]
            x, y = zip(*points, strict=True) if points else ((), ())
            marker = "o" if len(points) < 16 else ""
            ax.plot(x, y, color=colour, linestyle=dashes, marker=marker, markersize=3.5, label=name)
        ax.set(xlabel=abscissa, ylabel=ordinate, xscale=scales[0], yscale=scales[1])
        plain_numbers(ax)
        if ticks:
            ax.set_xticks(range(len(ticks)), ticks, rotation=20, ha="right", fontsize="small")
        beside = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)} if len(curves) > 5 else {}
        ax.legend(fontsize="small", **beside)

    return Figure(figure_svg(draw, (7.0, 3.8)), caption)
