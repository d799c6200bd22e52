"""The studies training and convolution: does initialisation confound a comparison of activations?

The same training from three starts: all activations at one sigma_w, He's variance 2/N, all at one
c. What is measured is the time (steps) to a fixed training loss, and its spread over activations.
Then c is varied, to see at which c an activation learns fastest.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from isometry.experiments.engine.runs import Outcome, Run, RunConfig
from isometry.experiments.parts.claims import Findings
from isometry.experiments.parts.classifiers import ACTIVATIONS, Classifier, draw_trunk, inputs
from isometry.experiments.parts.rungs import SCHEMES, scheme_sigma_w
from isometry.experiments.parts.study import Size, Study, register
from isometry.experiments.parts.training import (
    accuracy_meter,
    loss_meter,
    train,
    training_of,
    training_settings,
)
from isometry.experiments.studies.confounder_report import summarise
from isometry.theory.propagation import ResNetSpec, effective_cumulant

TASK = "training"


def plan(
    *,
    images: str,
    limit: int,
    activations: Sequence[str],
    network: Mapping[str, int],
    training: Mapping[str, Any],
    seeds: int,
    c: float = 1.0,
    shared_sigma_ws: Sequence[float] = (),
    sweep_activations: Sequence[str] = (),
    sweep_cs: Sequence[float] = (),
    sweep_seeds: int = 0,
) -> list[RunConfig]:
    """List the runs of the three schemes and of the sweep over c.

    Args:
        images: Image set.
        limit: Training images.
        activations: Names, for the three schemes.
        network: Width (entries or channels), depth and side (0 for a fully connected network).
        training: Steps, batch, learning_rate, evaluate_every: one choice for all.
        seeds: Networks and orders of the images, for the three schemes.
        c: The common c of the third scheme.
        shared_sigma_ws: Further values of the first scheme, whose own is 1.
        sweep_activations: Names, for the sweep.
        sweep_cs: Its c.
        sweep_seeds: Seeds of the sweep and of the further sigma_w.
    """
    depth = network["depth"]
    cells = [(s, phi, c if s == "equal c" else 1.0) for s in SCHEMES for phi in activations]
    cells += [("equal sigma_w", phi, value) for value in shared_sigma_ws for phi in activations]
    cells += [("equal c", phi, value) for phi in sweep_activations for value in sweep_cs]
    configs = [
        RunConfig(
            TASK,
            seed,
            {
                "images": images,
                "limit": limit,
                "activation": phi,
                "scheme": scheme,
                "value": value,
                "sigma_w": scheme_sigma_w(scheme, phi, depth=depth, value=value),
                "sigma_b": 0.0,
                **network,
                **training,
            },
        )
        for index, (scheme, phi, value) in enumerate(cells)
        for seed in range(seeds if index < len(SCHEMES) * len(activations) else sweep_seeds)
    ]
    # A run that is in both parts is one run: its config says nothing of the part.
    return list({config.id: config for config in configs}.values())


def fit(config: RunConfig, folder: Path) -> Outcome:
    """Train one classifier.

    Args:
        config: Settings as in :func:`plan`.
        folder: For the checkpoint.
    """
    settings = config.settings
    x, y = inputs(settings, dtype=torch.float32)
    trunk = draw_trunk(settings, seed=config.seed, dtype=torch.float32)
    model = Classifier(trunk, x[0].numel(), raw=settings.get("readout") == "raw")
    tested = None
    if settings.get("test_limit"):
        tested = accuracy_meter(model, *inputs(settings, dtype=torch.float32, split="test"))
    history = train(
        model,
        x,
        y,
        training_of(config),
        measure=loss_meter(model, x, y),
        folder=folder,
        rates={"trunk.": settings.get("rate", 1.0)},
        also=tested,
    )
    spec: ResNetSpec = trunk.spec
    results = {
        "c": effective_cumulant(spec),
        "first_loss": history[0]["loss"],
        "last_loss": history[-1]["loss"],
        "diverged_at": history[-1]["step"] if history[-1]["loss"] is None else None,
    }
    if tested is not None:
        results["test_accuracy"] = history[-1]["accuracy"]
    return Outcome(results, history)


def _plan(images: Sequence[str], size: Size) -> list[RunConfig]:
    asked = {key: value for key, value in size.items() if key != "levels"}
    return plan(images=images[0], **asked)


def _summarise(runs: Sequence[Run], size: Size, name: str) -> Findings:
    return summarise(runs, levels=size["levels"], c=size.get("c", 1.0), name=name)


TRAINING = register(
    Study(
        name="training",
        number=5,
        task=TASK,
        plan=_plan,
        run=fit,
        summarise=partial(_summarise, name="training"),
        sizes={
            "smoke": {
                "limit": 300, "activations": ["relu", "tanh"],
                "network": {"width": 64, "depth": 8, "side": 0},
                "training": training_settings(20, 0.05),
                "seeds": 1, "levels": [1.7, 1.5, 1.3], "sweep_activations": ["relu"],
                "sweep_cs": [0.1, 1.0], "sweep_seeds": 1,
            },
            "quick": {
                "limit": 1000, "activations": ACTIVATIONS,
                "network": {"width": 64, "depth": 12, "side": 0},
                "training": training_settings(120, 0.03),
                "seeds": 2, "levels": [1.5, 1.25, 1.0],
                "sweep_activations": ["relu", "tanh"],
                "sweep_cs": [0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0], "sweep_seeds": 1,
            },
            "full": {
                "limit": 10000, "activations": ACTIVATIONS,
                "network": {"width": 256, "depth": 20, "side": 0},
                "training": training_settings(800, 0.03), "seeds": 3,
                "levels": [2.2, 2.1, 2.0, 1.9, 1.8],
                "shared_sigma_ws": [2.0, 4.0], "sweep_activations": ["relu", "tanh", "gelu"],
                "sweep_cs": [0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0], "sweep_seeds": 3,
            },
        },
    )
)  # fmt: skip

CONVOLUTION = register(
    Study(
        name="convolution",
        number=6,
        task=TASK,
        plan=_plan,
        run=fit,
        summarise=partial(_summarise, name="convolutional training"),
        sizes={
            "smoke": {
                "limit": 300, "activations": ["relu", "tanh"],
                "network": {"width": 4, "depth": 4, "side": 4},
                "training": training_settings(10, 0.05),
                "seeds": 1, "levels": [2.1, 2.0, 1.9],
            },
            "quick": {
                "limit": 1000, "activations": ["relu", "tanh", "gelu"],
                "network": {"width": 8, "depth": 6, "side": 8},
                "training": training_settings(60, 0.03),
                "seeds": 1, "levels": [1.75, 1.5, 1.25],
            },
            "full": {
                "limit": 10000,
                "activations": [
                    "relu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh",
                ],
                "network": {"width": 12, "depth": 10, "side": 8},
                "training": training_settings(300, 0.03), "seeds": 3,
                "levels": [2.0, 1.9, 1.8, 1.7, 1.6],
            },
        },
    )
)  # fmt: skip
