"""Comparisons, plans and histories on axes."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes

from isometry._typing import Real
from isometry.plotting.figures import PALETTE, name_axes, plain_numbers
from isometry.plotting.spectra import bins, histogram, plot_law, plot_spectrum
from isometry.theory.comparison import Comparison
from isometry.theory.laws.base import SpectralLaw
from isometry.theory.spectrum import Spectrum

_COUNTED = PALETTE[2], PALETTE[1], PALETTE[4]


def plot_spans(ax: Axes, comparison: Comparison) -> None:
    """Draw the law's bulk and the measured one as two bars in s, with the outliers.

    Args:
        ax: Axes to draw on.
        comparison: What to draw; a lower edge that is not resolved fades out.
    """
    ink = matplotlib.rcParams["text.color"]
    low, high = np.sqrt(comparison.edges)
    lowest, highest = comparison.measured_edges
    start = low if lowest is None else np.sqrt(lowest)
    ax.barh(1, high - low, left=low, height=0.5, color=ink, alpha=0.35, label="law")
    width, hatch = np.sqrt(highest) - start, "//" if lowest is None else None
    ax.barh(0, width, left=start, height=0.5, color=PALETTE[0], hatch=hatch, label="measured bulk")
    out = comparison.outlier_singular_values
    out = out[out > 0]
    if len(out):
        ax.plot(
            out,
            np.zeros(len(out)),
            "v",
            color=PALETTE[1],
            label="outlier" if len(out) == 1 else f"{len(out)} outliers",
        )
    name_axes(ax, "")
    ax.margins(x=0.05)
    ax.set_yticks([])
    ax.set_title(f"Kolmogorov-Smirnov distance {comparison.ks:.3g}", fontsize="medium")
    ax.legend()


def plot_predictions(
    ax: Axes,
    spectrum: Spectrum,
    law: SpectralLaw | None,
    product_law: SpectralLaw | None = None,
    twin: Spectrum | None = None,
) -> None:
    """Draw a measured spectrum under everything that predicts it.

    Args:
        ax: Axes to draw on.
        spectrum: What was measured.
        law: The law of the blocks' c, as a line.
        product_law: The law of the blocks' own spectra, as a dashed line.
        twin: What was measured with channels rotated between the blocks, as steps.

    Raises:
        ValueError: If every measured value is 0.
    """
    plot_spectrum(ax, spectrum, law)
    if product_law is not None:
        before = len(ax.lines)
        plot_law(ax, product_law, label="product law")
        for line in ax.lines[before:]:
            line.set(color=PALETTE[1], linestyle="--")
    if twin is not None and twin.values[-1] > 0:
        edges = bins([twin], law)
        density = histogram(twin, edges)
        ax.stairs(density, np.exp(edges / 2), color=PALETTE[2], linewidth=1.4, label="twin")
    ax.legend()


def plot_points(
    ax: Axes,
    series: Mapping[str, Sequence[Any]],
    *,
    across: str,
    up: str,
    at: Sequence[int] | None = None,
) -> None:
    """Draw numbers that belong to blocks or to steps, on a logarithmic axis.

    Args:
        ax: Axes to draw on.
        series: From the entry of the legend to one number a place; None and what a logarithm
            has no place for are left out, and so is a series of which nothing is left.
        across: Label of the horizontal axis.
        up: Label of the vertical one.
        at: The places; 1, 2, ... without.
    """
    marks = cycle("os^Dv<>P")
    for colour, (name, numbers) in zip(cycle(PALETTE), series.items(), strict=False):
        x = np.arange(1, len(numbers) + 1) if at is None else np.asarray(at)
        y = np.array([np.nan if value is None else value for value in numbers], float)
        keep = np.isfinite(y) & (y > 0)
        if keep.any():
            style, mark = "none" if at is None else "-", next(marks)
            ax.plot(x[keep], y[keep], linestyle=style, marker=mark, color=colour, label=name)
    ax.set_yscale("log")
    plain_numbers(ax)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    ax.set_xlabel(across)
    ax.set_ylabel(up)
    if ax.has_data():
        beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        ax.legend(**(beside if len(ax.lines) > 5 else {}))


def plot_powers(
    ax: Axes,
    sizes: Sequence[int],
    series: Mapping[str, tuple[Sequence[float], float]],
    *,
    across: str,
) -> None:
    """Draw how quantities follow a size, each over its own first value, on logarithmic axes.

    Args:
        ax: Axes to draw on.
        sizes: The depths or widths.
        series: From a name to (a value above 0 per size, the exponent of the line through them).
        across: Label of the horizontal axis.

    Raises:
        ValueError: If there is no series.
    """
    if not series:
        raise ValueError("there is nothing to draw: no quantity is above 0 at every size.")
    x, marks = np.asarray(sizes, float), cycle("os^Dv<>P")
    for colour, (name, (numbers, exponent)) in zip(cycle(PALETTE), series.items(), strict=False):
        y = np.asarray(numbers, float) / numbers[0]
        line = np.exp(np.log(y).mean()) * (x / np.exp(np.log(x).mean())) ** exponent
        ax.plot(x, line, color=colour, linewidth=1.2)
        mark = next(marks)
        ax.plot([], [], color=colour, marker=mark, label=f"{name}: exponent {exponent:.2f}")
        ax.plot(x, y, linestyle="none", marker=mark, color=colour)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    ax.set_xlabel(across)
    ax.set_ylabel("over the first")
    ax.legend()


def ring(ax: Axes, across: Sequence[Real], up: Sequence[Real]) -> None:
    """Draw rings around points that a reader should look at.

    Args:
        ax: Axes that hold the points.
        across: Their places on the horizontal axis.
        up: Their places on the vertical one.
    """
    if len(across):
        style = {"markersize": 12, "markerfacecolor": "none", "markeredgewidth": 1.6}
        ax.plot(
            np.asarray(across),
            np.asarray(up),
            "o",
            color=PALETTE[1],
            label="look here",
            linestyle="none",
            **style,
        )
        ax.legend()


def off_scale(ax: Axes, across: Sequence[Real], label: str) -> None:
    """Draw crosses at the lower edge, for what a logarithmic axis has no place for.

    Args:
        ax: Axes that hold the points.
        across: Their places on the horizontal axis.
        label: Entry of the legend.
    """
    if len(across):
        edge = {"transform": ax.get_xaxis_transform(), "clip_on": False, "markersize": 8}
        places = [0.02] * len(across)
        ax.plot(np.asarray(across), places, "X", color=PALETTE[1], label=label, **edge)
        ax.legend()


def plot_counts(ax: Axes, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Draw a bar a row, in pieces that have their number written into them.

    Args:
        ax: Axes to draw on.
        counts: From a row to its pieces' sizes, by name; the rows have the same pieces.
    """
    left = dict.fromkeys(counts, 0)
    colours = zip(next(iter(counts.values()), {}), cycle(_COUNTED), strict=False)
    for name, colour in colours:
        sizes = {row: pieces[name] for row, pieces in counts.items()}
        if not any(sizes.values()):
            continue
        bars = ax.barh([*sizes], [*sizes.values()], 0.7, [*left.values()], color=colour, label=name)
        numbers = [str(n or "") for n in sizes.values()]
        ax.bar_label(bars, numbers, label_type="center", color="black")
        left = {row: left[row] + n for row, n in sizes.items()}
    ax.invert_yaxis()
    ax.set_xticks([])
    ax.spines[["bottom", "left"]].set_visible(False)
    ax.tick_params(left=False)
    ax.legend()
