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
ENDS = (RUNGS[0], RUNGS[2], TOP)
"""The habit, the paper's proposal, and all made equal: where a study has no time for every rung."""


def plan(
    *,
    images: str,
    limit: int,
    activations: Sequence[str],
    network: Mapping[str, int],
    training: Mapping[str, Any],
    seeds: int,
    rungs: Sequence[str] = RUNGS,
    raw_rungs: Sequence[str] = (),
    rates: Sequence[float] = (),
    sweep_cs: Sequence[float] = (),
    sweep_seeds: int = 0,
    test_limit: int = 0,
) -> list[RunConfig]:
    """List the runs of the ladder, and of its second readings.

    These are the raw readout, the best of a grid of learning rates at both ends of the ladder and
    at equal c, and the sweep over c at the top.

    Args:
        images: Image set.
        limit: Training images.
        activations: Names or import paths. One that cannot be brought to a rung is left out of it,
            with a warning that says why.
        network: Width (entries or channels), depth and side (0 for a fully connected network).
        training: Steps, batch, learning_rate, evaluate_every: one choice for all.
        seeds: Networks and orders of the images.
        rungs: Which of ``RUNGS``.
        raw_rungs: Which of them with a readout of the features as they are as well; the others'
            is of standardised features.
        rates: Further learning rates of ``ENDS``, as factors of the one for all; one seed.
        sweep_cs: c of the sweep at the top.
        sweep_seeds: Its seeds.
        test_limit: Test images whose accuracy is followed as well; 0 for none.
    """
    plain, raw = READOUTS
    cells = [(rung, phi, 1.0, plain, 1.0, seeds) for rung in rungs for phi in activations]
    cells += [(rung, phi, 1.0, raw, 1.0, seeds) for rung in raw_rungs for phi in activations]
    cells += [(rung, phi, 1.0, plain, r, 1) for r in rates for rung in ENDS for phi in activations]
    cells += [(TOP, phi, c, plain, 1.0, sweep_seeds) for phi in activations for c in sweep_cs]
    tested = {"test_limit": test_limit} if test_limit else {}
    configs = []
    for rung, phi, c, readout, factor, count in cells:
        try:
            chosen = rung_settings(rung, phi, depth=network["depth"], c=c)
        except ValueError as error:
            warnings.warn(f"{rung}: {error}", TheoryWarning, stacklevel=2)
            continue
        shared = {
            "images": images, "limit": limit, "activation": phi, "rung": rung, "value": c,
            "readout": readout, "sigma_b": 0.0, **network, **training, **tested,
            "learning_rate": float(f"{factor * training['learning_rate']:.10g}"),
        }  # fmt: skip
        configs += [RunConfig(TASK, seed, shared | chosen) for seed in range(count)]
    return list({config.id: config for config in configs}.values())


def _plan(images: Sequence[str], size: Size) -> list[RunConfig]:
    asked = {key: value for key, value in size.items() if key not in ("levels", "predicted")}
    return plan(images=images[0], **asked)


def _summarise(runs: Sequence[Run], size: Size, name: str) -> Findings:
    return summarise(runs, levels=size["levels"], name=name, predicted=size.get("predicted", False))


LEVELS = (2.2, 2.1, 2.0, 1.9, 1.8, 1.7, 1.6, 1.4, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2, 0.1)
"""Training losses, from early to late: which of them are reached depends on the images."""

SMOKE: Size = {
    "limit": 300, "activations": ["relu", "tanh"],
    "network": {"width": 48, "depth": 6, "side": 0},
    "training": training_settings(15, 0.05), "seeds": 1,
    "levels": [2.2, 2.0, 1.8], "rates": [0.5], "sweep_cs": [0.1, 1.0], "sweep_seeds": 1,
}  # fmt: skip
QUICK: Size = {
    "limit": 2000, "activations": ACTIVATIONS,
    "network": {"width": 128, "depth": 20, "side": 0},
    "training": training_settings(200, 0.03), "seeds": 1,
    "levels": LEVELS,
    "sweep_cs": [0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0], "sweep_seeds": 1,
}  # fmt: skip
_FOUR = ["relu", "gelu", "tanh", "softplus"]
_TOY: Size = {**SMOKE, "rungs": ENDS, "rates": [], "sweep_cs": []}
_ENDS: Size = {**QUICK, "rungs": ENDS, "sweep_cs": []}


def _study(name: str, number: int, words: str, sizes: Mapping[str, Size]) -> Study:
    """Register a ladder: its name for a command, its place, its name in a sentence, its sizes."""
    summary = partial(_summarise, name=words)
    return register(
        Study(name, number, task=TASK, plan=_plan, run=fit, summarise=summary, sizes=sizes)
    )


LADDER = _study("ladder", 7, "ladder", {
    "smoke": SMOKE,
    "quick": QUICK | {"predicted": True},
    "full": {
        **QUICK, "predicted": True, "limit": 10000,
        "network": {"width": 256, "depth": 20, "side": 0},
        "seeds": 3, "raw_rungs": ENDS,
        "rates": [0.25, 0.5, 2.0, 4.0], "sweep_seeds": 3,
    },
})  # fmt: skip
CONVOLUTION = _study("convolution-ladder", 8, "convolutional ladder", {
    "smoke": {**_TOY, "network": {"width": 4, "depth": 3, "side": 4}},
    "quick": {
        **_ENDS, "network": {"width": 8, "depth": 8, "side": 8}, "activations": _FOUR,
        "training": training_settings(100, 0.03),
    },
    "full": {
        **_ENDS, "limit": 10000, "network": {"width": 12, "depth": 10, "side": 8},
        "training": training_settings(200, 0.03), "seeds": 3,
    },
})  # fmt: skip
DEEP = _study("deep-ladder", 9, "deep ladder", {
    "smoke": {**_TOY, "network": {"width": 24, "depth": 12, "side": 0}},
    "quick": {
        **_ENDS, "network": {"width": 128, "depth": 50, "side": 0}, "activations": _FOUR,
        "training": training_settings(100, 0.03),
    },
    "full": {
        **_ENDS, "limit": 10000, "network": {"width": 256, "depth": 50, "side": 0}, "seeds": 3,
    },
})  # fmt: skip
LATE = _study("late-ladder", 10, "late ladder", {
    "smoke": {**_TOY, "test_limit": 100},
    "quick": {
        **_ENDS, "activations": _FOUR[:3], "test_limit": 1000,
        "training": training_settings(1000, 0.03) | {"evaluate_every": 50},
    },
    "full": {
        **_ENDS, "limit": 10000, "network": {"width": 256, "depth": 20, "side": 0},
        "activations": _FOUR[:3], "test_limit": 2000,
        "training": training_settings(10000, 0.03) | {"evaluate_every": 100},
    },
})  # fmt: skip
