"""Draw results on axes; the only package that knows matplotlib.

Pyplot's state is touched where no axes are given, and nowhere else.
"""

try:
    import matplotlib as _matplotlib  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError as err:
    raise ImportError(
        "`isometry.plotting` needs matplotlib; run `pip install 'isometry[plot]'`."
    ) from err

from isometry.plotting.figures import PALETTE, axes_or_new, figure_svg, plain_numbers, write_figure
from isometry.plotting.results import (
    off_scale,
    plot_counts,
    plot_points,
    plot_powers,
    plot_predictions,
    plot_spans,
    ring,
)
from isometry.plotting.spectra import plot_cdf, plot_collapse, plot_law, plot_spectrum

__all__ = [
    "PALETTE",
    "axes_or_new",
    "figure_svg",
    "off_scale",
    "plain_numbers",
    "plot_cdf",
    "plot_collapse",
    "plot_counts",
    "plot_law",
    "plot_points",
    "plot_powers",
    "plot_predictions",
    "plot_spans",
    "plot_spectrum",
    "ring",
    "write_figure",
]
