"""The study cumulants: is the c that follows from the activation the c of a real network?

Mean field gives c from E phi'^2 alone; a network of finite width has sum_l |D_l W_l|^2 / N.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isometry.experiments.engine.runs import Outcome, Run, RunConfig
from isometry.experiments.parts.claims import Findings, Hypothesis, Reading
from isometry.experiments.parts.study import Study, register
from isometry.experiments.parts.tables import grouped, line_figure, point_figure, slope
from isometry.nn.networks.resnet import ResNet
from isometry.report import Figure, Paragraph, Table
from isometry.theory.activations.lookup import activation_names
from isometry.theory.propagation import ResNetSpec, effective_cumulant

TASK = "cumulant"
NAME = "cumulants"
JUMPING = ("hardshrink", "sign", "threshold")
"""Left out: the mean field takes the derivative of a jump to be 0, and so would a network."""

_FLOOR = 0.05
_LEAST = 1e-3  # of the figure
_MOST = 0.05  # deviation of the mean with which the claim passes


def plan(
    *,
    widths: Sequence[int],
    depth: int,
    sigma_ws: Sequence[float],
    sigma_bs: Sequence[float],
    seeds: int,
) -> list[RunConfig]:
    """List the runs: every named activation without a jump at every width.

    Args:
        widths: N.
        depth: L.
        sigma_ws: Standard deviations of the weights (1/L convention).
        sigma_bs: Standard deviations of the biases.
        seeds: Networks of each.
    """
    return [
        RunConfig(
            TASK,
            seed,
            {"activation": name, "width": width, "depth": depth, "sigma_w": w, "sigma_b": b},
        )
        for name in activation_names()
        if name not in JUMPING
        for width in widths
        for w in sigma_ws
        for b in sigma_bs
        for seed in range(seeds)
    ]


def measure(config: RunConfig, folder: Path) -> Outcome:  # noqa: ARG001
    """Draw one network and one Gaussian input and measure c.

    Args:
        config: Activation, width, depth, sigma_w, sigma_b.
        folder: Not used; the run is short.
    """
    settings = dict(config.settings)
    width = settings.pop("width")
    spec = ResNetSpec(**settings)
    generator = torch.Generator().manual_seed(config.seed)
    net = ResNet(spec, width, generator=generator, dtype=torch.float64)
    x = torch.randn(width, generator=generator, dtype=torch.float64)
    measured = float(net.layer_cumulants(x).sum())
    return Outcome({"measured": measured, "mean_field": effective_cumulant(spec)})


def summarise(runs: Sequence[Run]) -> Findings:
    """Turn the runs into hypotheses, tables and figures.

    Args:
        runs: Finished runs of this study.
    """
    cells = grouped(runs, ("width", "sigma_w", "sigma_b", "activation"), _averages)
    widths = sorted({row["width"] for row in cells})
    widest = [row for row in cells if row["width"] == widths[-1]]
    spread = [_root_mean_square([r for r in cells if r["width"] == w]) for w in widths]
    depth = runs[0].config.settings["depth"]
    over_depth = _depth_table(sorted({row["activation"] for row in cells}))
    mean, falls = _hypotheses(widest, widths, spread, depth)
    about = Paragraph(
        f"c of networks of width {widths[-1]} and depth {depth}, and its prediction; the "
        f"deviation is relative to c, or to {_FLOOR} where c is smaller than that."
    )
    fall = line_figure(
        {"root mean square over activations": list(zip(widths, spread, strict=True))},
        "width N",
        "relative deviation of c",
        "How fast one network's c approaches the mean field.",
    )
    measured = Table(widest, "s.e. is the standard error of the mean over networks.")
    depths = Table(over_depth, "Mean field at sigma_w = 1, without and with sigma_b^2 = 0.05.")
    return Findings(
        "Cumulants: c follows from the activation",
        [
            Reading([mean], [deviations(widest), about, measured], {"networks": widest}),
            Reading([falls], [fall]),
            Reading([], [depths], {"depth": over_depth}),
        ],
    )


def deviations(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw how far the measured c is from the predicted one, a point per activation.

    Args:
        rows: With "sigma_w", "mean field" and "deviation".
    """
    groups = {
        f"sigma_w = {w:g}": [
            (max(row["mean field"], _LEAST), row["deviation"])
            for row in rows
            if row["sigma_w"] == w
        ]
        for w in sorted({row["sigma_w"] for row in rows})
    }
    return point_figure(
        groups,
        "c that the mean field predicts",
        "deviation of the measured c",
        "How far the measured c is from the predicted one, a point per activation and setting; "
        f"what is below {_LEAST:g} stands there.",
        scales=("log", "linear"),
        wanted=[-_MOST, _MOST],
    )


def _hypotheses(
    widest: list[dict[str, Any]], widths: list[int], spread: list[float], depth: int
) -> list[Hypothesis]:
    return [
        Hypothesis(
            NAME,
            "The mean field predicts the c of a network (largest deviation of the mean)",
            f"{len(widest)} settings, L = {depth}, N = {widths[-1]}",
            max(abs(row["deviation"]) for row in widest),
            high=_MOST,
        ),
        Hypothesis(
            NAME,
            "The deviation of one network falls with the width (exponent of its root mean square)",
            f"N = {widths}",
            slope(widths, spread),
            high=-0.4,
        ),
    ]


def _averages(runs: Sequence[Run]) -> dict[str, Any]:
    measured = np.array([run.results["measured"] for run in runs])
    theory = runs[0].results["mean_field"]
    size = max(theory, _FLOOR)
    error = measured.std(ddof=1) / np.sqrt(len(measured)) if len(measured) > 1 else None
    return {
        "mean field": theory,
        "measured": float(measured.mean()),
        "s.e.": None if error is None else float(error),
        "deviation": float((measured.mean() - theory) / size),
        "one network": float(np.sqrt(np.mean((measured - theory) ** 2)) / size),
    }


def _root_mean_square(rows: list[dict[str, Any]]) -> float:
    return float(np.sqrt(np.mean([row["one network"] ** 2 for row in rows])))


def _depth_table(names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"activation": name}
        | {
            f"L = {depth}, sigma_b^2 = {square:g}": effective_cumulant(
                ResNetSpec(name, depth=depth, sigma_b=float(np.sqrt(square)))
            )
            for square in (0.0, 0.05)
            for depth in (10, 100, 1000)
        }
        for name in names
    ]


STUDY = register(
    Study(
        name="cumulants",
        number=2,
        task=TASK,
        plan=lambda images, size: plan(**size),  # noqa: ARG005
        run=measure,
        summarise=lambda runs, size: summarise(runs),  # noqa: ARG005
        sizes={
            "smoke": {
                "widths": [50, 100], "depth": 20, "sigma_ws": [1.0], "sigma_bs": [0.0], "seeds": 1,
            },
            "quick": {
                "widths": [50, 100, 200], "depth": 30, "sigma_ws": [1.0], "sigma_bs": [0.0],
                "seeds": 2,
            },
            "full": {
                "widths": [50, 100, 200, 400], "depth": 50, "sigma_ws": [0.5, 1.0, 2.0],
                "sigma_bs": [0.0, 0.05**0.5], "seeds": 3,
            },
        },
    )
)  # fmt: skip
