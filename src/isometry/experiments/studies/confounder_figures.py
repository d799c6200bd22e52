"""Figures of the studies training and convolution: times, spreads, losses, and the sweep over c."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from isometry._typing import Real
from isometry.experiments.engine.runs import Run
from isometry.experiments.parts.rungs import SCHEMES
from isometry.experiments.parts.tables import line_figure, or_nan
from isometry.report import Figure

MOST = 0.5
"""Ratio of the spreads with which a claim passes."""


def time_figure(rows: Sequence[Mapping[str, Any]], level: float) -> Figure:
    """Draw the mean steps to a loss at the three schemes, a curve per activation.

    Args:
        rows: With "activation" and the steps by scheme.
        level: The training loss.
    """
    curves = {
        row["activation"]: [(place, or_nan(row[scheme])) for place, scheme in enumerate(SCHEMES)]
        for row in rows
    }
    caption = "Mean steps to the loss per activation and scheme (missing: not reached by any seed)."
    return line_figure(
        curves, "", f"steps to loss {level:g}", caption, scales=("linear", "log"), ticks=SCHEMES
    )


def ratio_figure(by_level: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the ratio of the spreads from early to late losses.

    Args:
        by_level: What :func:`ratios_by_level` returned.
    """
    curves = {f"equal c {key}": _series(by_level, key) for key in by_level[0] if "over " in key}
    return line_figure(
        curves,
        "training loss",
        "ratio of the spreads",
        "The ratio of the spreads from early to late losses (missing: too few runs reach it).",
        scales=("linear", "log"),
        ticks=_losses(by_level),
        wanted=[MOST],
    )


def reach_figure(by_level: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the fraction of the runs that reach a loss, from early to late losses.

    Args:
        by_level: What :func:`ratios_by_level` returned.
    """
    return line_figure(
        {scheme: _series(by_level, f"reached at {scheme}") for scheme in SCHEMES},
        "training loss",
        "fraction of the runs",
        "The fraction of the runs that reach a training loss, by scheme.",
        scales=("linear", "linear"),
        ticks=_losses(by_level),
    )


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, Real]]:
    return [(place, or_nan(row[key])) for place, row in enumerate(rows)]


def _losses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{row['training loss']:g}" for row in rows]


def loss_figure(runs: Sequence[Run], scheme: str, activations: Collection[str]) -> Figure:
    """Draw the training loss against the step at a scheme, a curve per activation.

    Args:
        runs: Training runs.
        scheme: Which of them.
        activations: Which of them.
    """
    curves = {}
    for phi in sorted(activations):
        histories = [
            run.history()
            for run in runs
            if (run.config.settings["scheme"], run.config.settings["activation"]) == (scheme, phi)
        ]
        length = min(len([r for r in h if r["loss"] is not None]) for h in histories)
        steps = [record["step"] for record in histories[0][:length]]
        mean = np.mean([[record["loss"] for record in h[:length]] for h in histories], axis=0)
        curves[phi] = list(zip(steps, np.minimum(mean, 10.0).tolist(), strict=True))
    caption = f"Training loss at {scheme}, mean over seeds, up to the first divergence."
    return line_figure(curves, "steps", "training loss", caption, scales=("linear", "linear"))


def sweep_figure(swept: Sequence[Mapping[str, Any]], level: float) -> Figure:
    """Draw the steps to a loss against c, a curve per activation.

    Args:
        swept: Rows with "activation", "c" and "steps".
        level: The training loss.
    """
    curves = {
        phi: [(r["c"], r["steps"]) for r in swept if r["activation"] == phi and r["steps"]]
        for phi in sorted({row["activation"] for row in swept})
    }
    return line_figure(
        curves, "c", f"steps to loss {level:g}", "Learning speed against c (missing: not reached)."
    )
