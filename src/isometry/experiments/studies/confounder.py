"""Studies 4 and 6: does initialisation confound a comparison of activations?

The same training from three starts: all activations at one sigma_w, He's variance 2/N, all at one
c. What is measured is the time (steps) to a fixed training loss, and its spread over activations.
Then c is varied, to see at which c an activation learns fastest.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from isometry._typing import Real
from isometry.experiments.engine.runs import Outcome, Run, RunConfig
from isometry.experiments.parts.classifiers import (
    SCHEMES,
    Classifier,
    draw_trunk,
    inputs,
    scheme_sigma_w,
)
from isometry.experiments.parts.training import Training, steps_to, train
from isometry.theory.propagation import ResNetSpec, effective_cumulant

TASK = "training"
_EVALUATED = 512  # training images whose loss is the measure


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
    model = Classifier(trunk, x[0].numel())
    history = train(
        model, x, y, training_of(config), measure=loss_meter(model, x, y), folder=folder
    )
    spec: ResNetSpec = trunk.spec
    results = {
        "c": effective_cumulant(spec),
        "first_loss": history[0]["loss"],
        "last_loss": history[-1]["loss"],
        "diverged_at": history[-1]["step"] if history[-1]["loss"] is None else None,
    }
    return Outcome(results, history)


def training_of(config: RunConfig) -> Training:
    """Return the part of a run's settings that says how to train."""
    keys = ("steps", "batch", "learning_rate", "evaluate_every")
    return Training(**{key: config.settings[key] for key in keys}, seed=config.seed)


def loss_meter(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Any:
    """Return a function of the step: the loss on the first 512 training samples.

    Args:
        model: From a batch to logits.
        x: The samples.
        y: Their classes.
    """

    @torch.no_grad()
    def measure(step: int) -> float:  # noqa: ARG001
        return float(nn.functional.cross_entropy(model(x[:_EVALUATED]), y[:_EVALUATED]))

    return measure


def times(runs: Sequence[Run], scheme: str, level: float) -> dict[str, dict[int, float | None]]:
    """Return the steps to a loss, per activation and seed; ``None`` where it is not reached.

    Args:
        runs: Training runs.
        scheme: Which of them.
        level: The training loss.
    """
    found: dict[str, dict[int, float | None]] = {}
    for run in runs:
        if run.config.settings["scheme"] == scheme:
            reached = steps_to(run.history(), level)
            found.setdefault(run.config.settings["activation"], {})[run.config.seed] = reached
    return found


def log_spread(table: Mapping[str, Mapping[int, float | None]], *, censored: Real) -> float:
    """Return the standard deviation over activations of the mean log time over seeds.

    Args:
        table: What :func:`times` returned.
        censored: Steps that stand for a time that was not reached: the spread is then a lower
            bound.
    """
    return float(np.std(list(mean_log_times(table, censored=censored).values()), ddof=1))


def mean_log_times(
    table: Mapping[str, Mapping[int, float | None]], *, censored: Real
) -> dict[str, float]:
    """Return every activation's log time to the loss, averaged over seeds.

    Args:
        table: What :func:`times` returned.
        censored: Steps that stand for a time that was not reached.
    """
    return {
        phi: float(np.mean([np.log(max(censored if t is None else t, 1.0)) for t in row.values()]))
        for phi, row in table.items()
    }


def bootstrap(
    first: Mapping[str, Mapping[int, float | None]],
    second: Mapping[str, Mapping[int, float | None]],
    *,
    censored: Real,
    rng: np.random.Generator,
    draws: int = 1000,
) -> tuple[float, float]:
    """Return a 95 % interval of the ratio of two log spreads, by resampling seeds.

    Args:
        first: Times of the numerator.
        second: Times of the denominator.
        censored: As in :func:`log_spread`.
        rng: Source of the resampling; an activation's seeds are drawn anew, independently.
        draws: Number of resamplings.
    """
    ratios = [
        log_spread(_resampled(first, rng), censored=censored)
        / max(log_spread(_resampled(second, rng), censored=censored), 1e-12)
        for _ in range(draws)
    ]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def _resampled(
    table: Mapping[str, Mapping[int, float | None]], rng: np.random.Generator
) -> dict[str, dict[int, float | None]]:
    drawn = {}
    for name, row in table.items():
        values = list(row.values())
        drawn[name] = {k: values[j] for k, j in enumerate(rng.integers(len(values), size=len(row)))}
    return drawn
