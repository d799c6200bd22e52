"""The study ladder: what must be equal before activations learn alike?

The three starts of the studies training and convolution, and four more, each of which makes one
more thing equal (:mod:`isometry.experiments.parts.rungs`). Then c is varied at the top: do all
activations lie on one curve? One learning rate, ReLU's own at c = 1, serves all runs.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from isometry.errors import TheoryWarning
from isometry.experiments.engine.runs import Run, RunConfig
from isometry.experiments.parts.claims import Findings
from isometry.experiments.parts.classifiers import ACTIVATIONS
from isometry.experiments.parts.rungs import RUNGS, TOP, rung_settings
from isometry.experiments.parts.study import Size, Study, register
from isometry.experiments.parts.training import training_settings
from isometry.experiments.studies.confounder import TASK, fit
from isometry.experiments.studies.ladder_report import summarise

READOUTS = ("standardised", "raw")


def plan(
    *,
    images: str,
    limit: int,
    activations: Sequence[str],
    network: Mapping[str, int],
    training: Mapping[str, Any],
    seeds: int,
    rungs: Sequence[str] = RUNGS,
    readouts: Sequence[str] = READOUTS[:1],
    sweep_cs: Sequence[float] = (),
    sweep_seeds: int = 0,
) -> list[RunConfig]:
    """List the runs of the ladder, and of the sweep over c at its top.

    Args:
        images: Image set.
        limit: Training images.
        activations: Names or import paths. One that cannot be brought to a rung is left out of it,
            with a warning that says why.
        network: Width (entries or channels), depth and side (0 for a fully connected network).
        training: Steps, batch, learning_rate, evaluate_every: one choice for all.
        seeds: Networks and orders of the images.
        rungs: Which of ``RUNGS``.
        readouts: Which of ``READOUTS``: of standardised features, of the features as they are.
        sweep_cs: c of the sweep at the top.
        sweep_seeds: Its seeds.
    """
    cells = [(r, phi, 1.0, out, seeds) for out in readouts for r in rungs for phi in activations]
    swept = readouts[0]
    cells += [(TOP, phi, c, swept, sweep_seeds) for phi in activations for c in sweep_cs]
    configs = []
    for rung, phi, c, readout, count in cells:
        try:
            chosen = rung_settings(rung, phi, depth=network["depth"], c=c)
        except ValueError as error:
            warnings.warn(f"{rung}: {error}", TheoryWarning, stacklevel=2)
            continue
        shared = {
            "images": images, "limit": limit, "activation": phi, "rung": rung, "value": c,
            "readout": readout, "sigma_b": 0.0, **network, **training,
        }  # fmt: skip
        configs += [RunConfig(TASK, seed, shared | chosen) for seed in range(count)]
    return list({config.id: config for config in configs}.values())


def _plan(images: Sequence[str], size: Size) -> list[RunConfig]:
    asked = {key: value for key, value in size.items() if key != "levels"}
    return plan(images=images[0], **asked)


def _summarise(runs: Sequence[Run], size: Size, name: str) -> Findings:
    return summarise(runs, levels=size["levels"], name=name)


SMOKE: Size = {
    "limit": 300, "activations": ["relu", "tanh"],
    "network": {"width": 48, "depth": 6, "side": 0},
    "training": training_settings(15, 0.05), "seeds": 1,
    "levels": [2.2, 2.0, 1.8], "sweep_cs": [0.1, 1.0], "sweep_seeds": 1,
}  # fmt: skip
QUICK: Size = {
    "limit": 2000, "activations": ACTIVATIONS,
    "network": {"width": 128, "depth": 20, "side": 0},
    "training": training_settings(200, 0.03), "seeds": 1,
    "levels": [2.1, 2.0, 1.9, 1.8],
    "sweep_cs": [0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0], "sweep_seeds": 1,
}  # fmt: skip
LADDER = register(
    Study(
        name="ladder",
        number=7,
        task=TASK,
        plan=_plan,
        run=fit,
        summarise=partial(_summarise, name="ladder"),
        sizes={
            "smoke": SMOKE,
            "quick": QUICK,
            "full": {
                **QUICK, "limit": 10000, "network": {"width": 256, "depth": 20, "side": 0},
                "training": training_settings(800, 0.03), "seeds": 3, "readouts": READOUTS,
                "levels": [2.1, 2.0, 1.9, 1.8, 1.7, 1.6, 1.4], "sweep_seeds": 3,
            },
        },
    )
)  # fmt: skip

CONVOLUTION = register(
    Study(
        name="convolution-ladder",
        number=8,
        task=TASK,
        plan=_plan,
        run=fit,
        summarise=partial(_summarise, name="convolutional ladder"),
        sizes={
            "smoke": {
                **SMOKE, "network": {"width": 4, "depth": 3, "side": 4}, "sweep_cs": [],
                "rungs": [RUNGS[0], TOP],
            },
            "quick": {
                **QUICK, "network": {"width": 8, "depth": 8, "side": 8}, "sweep_cs": [],
                "activations": ["relu", "gelu", "tanh", "softplus"],
                "training": training_settings(100, 0.03),
                "levels": [2.2, 2.1, 2.0],
            },
            "full": {
                **QUICK, "limit": 10000, "network": {"width": 16, "depth": 12, "side": 8},
                "training": training_settings(400, 0.03), "seeds": 3, "sweep_cs": [],
                "levels": [2.1, 2.0, 1.9, 1.8, 1.7],
            },
        },
    )
)  # fmt: skip
