"""Spectra and laws on axes.

The horizontal axis is the singular value s on a logarithmic scale; the vertical one is the density
of log lam, lam = s^2, so that an area is a weight.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from isometry._typing import Float
from isometry.plotting.figures import PALETTE, name_axes
from isometry.theory.laws.base import SpectralLaw
from isometry.theory.spectrum import Spectrum

_POINT = 1e-3
"""Spread in log lam of what is one point: rounding, which a narrower axis would show as a law."""
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)))


def plot_law(ax: Axes, law: SpectralLaw, *, label: str = "law") -> None:
    """Draw the density of log lam of a law, or a vertical line for each of its atoms.

    Args:
        ax: Axes to draw on.
        law: A law of lam.
        label: Entry of the legend.
    """
    ink = matplotlib.rcParams["text.color"]
    places, _ = law.atoms()
    for place in places:
        ax.axvline(float(np.sqrt(place)), color=ink, linewidth=2, label=label)
    low, high = law.log_support()
    if low < high:
        # Nodes crowd at both edges, where the density rises like a square root.
        t = (low + high) / 2 - (high - low) / 2 * np.cos(np.linspace(0, np.pi, 257))
        lam = np.exp(t)
        ax.plot(np.exp(t / 2), lam * law.pdf(lam), color=ink, linewidth=2, label=label)
    name_axes(ax, "density of log λ, λ = s²")


def plot_spectrum(
    ax: Axes, spectrum: Spectrum, law: SpectralLaw | None = None, *, label: str = "measured"
) -> None:
    """Draw a spectrum as a histogram in log lam, under the law if there is one.

    A part that is not resolved is shaded: its weight lies somewhere there, or further down.

    Values that lie outside the window of the histogram (the law's support or, where it is wider,
    the central 98 % of the weight) are marked by triangles: outliers stay visible and do not
    flatten the bulk. Values that are exactly 0 have no place on the axis and are left out.

    Args:
        ax: Axes to draw on.
        spectrum: The values of lam and their weights.
        law: What to compare with.
        label: Entry of the legend.

    Raises:
        ValueError: If every value is 0.
    """
    edges = bins([spectrum], law)
    density = histogram(spectrum, edges)
    ax.stairs(density, np.exp(edges / 2), fill=True, color=PALETTE[0], alpha=0.55, label=label)
    _mark_outside(ax, spectrum, edges, PALETTE[0])
    if law is not None:
        plot_law(ax, law)
    low, high = spectrum.unresolved
    if low < high:
        top = max(float(spectrum.icdf(high)), float(np.exp(edges[0])))
        ink = matplotlib.rcParams["text.color"]
        shade = {
            "color": ink,
            "alpha": 0.12,
            "linewidth": 0,
            "label": f"{high - low:.0%} unresolved",
        }
        ax.axvspan(float(np.exp(edges[0] / 2)), float(np.sqrt(top)), **shade)
    name_axes(ax, "density of log λ, λ = s²")
    ax.set_ylim(bottom=0)
    ax.legend()


def plot_cdf(
    ax: Axes, spectrum: Spectrum, law: SpectralLaw | None = None, *, label: str = "measured"
) -> None:
    """Draw the distribution function of a spectrum, over the law's if there is one.

    The largest vertical distance between the two is the Kolmogorov-Smirnov distance.

    Args:
        ax: Axes to draw on.
        spectrum: The values of lam and their weights.
        law: What to compare with.
        label: Entry of the legend.

    Raises:
        ValueError: If every value is 0.
    """
    if law is not None:
        p = (1 - np.cos(np.linspace(0, np.pi, 257))) / 2
        ink = matplotlib.rcParams["text.color"]
        ax.plot(np.sqrt(law.icdf(p)), p, color=ink, alpha=0.35, linewidth=5, label="law")
    s, weights = np.exp(_positive(spectrum)[0] / 2), np.asarray(spectrum.weights)
    below = np.cumsum(weights)[-len(s) :]
    ax.step(s, below, where="post", color=PALETTE[0], linewidth=1.4, label=label)
    name_axes(ax, "weight up to s")
    ax.legend(loc="upper left")


def plot_collapse(
    ax: Axes, spectra: Mapping[str, Spectrum], law: SpectralLaw | None = None
) -> None:
    """Draw the densities of many spectra over one law: do they fall on one curve?

    All share the bins; what lies outside is marked by triangles as in :func:`plot_spectrum`.

    Args:
        ax: Axes to draw on.
        spectra: From the entry of the legend to the spectrum.
        law: The one curve.

    Raises:
        ValueError: If ``spectra`` is empty, or all values of one spectrum are 0.
    """
    if not spectra:
        raise ValueError("`spectra` is empty; expected at least one named spectrum.")
    edges = bins(list(spectra.values()), law)
    if law is not None:
        plot_law(ax, law)
        for line in ax.lines:
            line.set(linewidth=6, alpha=0.3)
    middle = np.exp((edges[1:] + edges[:-1]) / 4)
    colours = cycle(PALETTE)
    for number, (name, spectrum) in enumerate(spectra.items()):
        colour, dashes = next(colours), _DASHES[number // len(PALETTE) % len(_DASHES)]
        density = histogram(spectrum, edges)
        ax.plot(middle, density, color=colour, linestyle=dashes, linewidth=1.3, label=name)
        _mark_outside(ax, spectrum, edges, colour)
    name_axes(ax, "density of log λ, λ = s²")
    ax.set_ylim(bottom=0)
    ax.legend(fontsize="small", ncols=1 + len(spectra) // 7)


def _positive(spectrum: Spectrum) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Return log lam and the weights of the values above 0.

    Raises:
        ValueError: If there are none.
    """
    keep = spectrum.values > 0
    if not keep.any():
        raise ValueError("`spectrum` has only zeros; expected some lam > 0. Is J itself 0?")
    return np.log(spectrum.values[keep]), np.asarray(spectrum.weights)[keep]


def bins(spectra: Sequence[Spectrum], law: SpectralLaw | None) -> Float[np.ndarray, "edges"]:
    """Return edges in log lam: about ten values a bin, since such values repel each other."""
    ends = [] if law is None else [np.log(place) for place in law.atoms()[0]]
    if law is not None:
        ends += [edge for edge in law.log_support() if np.isfinite(edge)]
    for spectrum in spectra:
        t, weights = _positive(spectrum)
        level = np.cumsum(weights) / weights.sum()
        inner = t[np.searchsorted(level, [0.01, 0.99])]
        reach = 0.1 * (inner[1] - inner[0]) if law is None else 0.0
        ends += [max(inner[0] - reach, t[0]), min(inner[1] + reach, t[-1])]
    low, high = min(ends), max(ends)
    if high - low < _POINT:
        middle = (low + high) / 2
        low, high = middle - 0.5, middle + 0.5
    number = int(np.clip(min(len(s.values) for s in spectra) // 10, 8, 60))
    return np.linspace(low, high, number + 1)


def histogram(
    spectrum: Spectrum, edges: Float[np.ndarray, "edges"]
) -> Float[np.ndarray, "edges-1"]:
    """Return weight per unit of log lam; what lies outside the edges counts in no bin."""
    t, weights = _positive(spectrum)
    return np.histogram(t, edges, weights=weights)[0] / np.diff(edges)


def _mark_outside(
    ax: Axes, spectrum: Spectrum, edges: Float[np.ndarray, "edges"], colour: str
) -> None:
    t, _ = _positive(spectrum)
    slack = edges[1] - edges[0]
    outside = np.exp(t[(t < edges[0] - slack) | (t > edges[-1] + slack)] / 2)
    if not len(outside):
        return
    height = ax.get_xaxis_transform()
    ax.plot(
        outside, np.full(len(outside), 0.02), "v", color=colour, transform=height, clip_on=False
    )
