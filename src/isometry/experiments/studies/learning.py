"""The study learning: does the law survive training, and if not, what breaks it?

During training every layer is 1 + X_l with X_l = D_l W_l at one image. The two-parameter law takes
only traces of X_l, as if the layers were free of each other. Two controls put freeness back and
keep every trace: each X_l conjugated by its own random permutation (rows and columns shuffled
together), and the rotated twin, a random rotation between every two layers. What the controls
repair is due to the layers knowing each other; what they leave is due to the layers themselves.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isometry._typing import FloatArray
from isometry.experiments.engine.runs import Outcome, Run, RunConfig
from isometry.experiments.parts.claims import Findings, Hypothesis, Reading
from isometry.experiments.parts.classifiers import Classifier, draw_trunk, inputs
from isometry.experiments.parts.rungs import scheme_sigma_w
from isometry.experiments.parts.study import Study, register
from isometry.experiments.parts.tables import grouped, line_figure
from isometry.experiments.parts.training import (
    loss_meter,
    train,
    training_of,
    training_settings,
)
from isometry.nn.diagnosis.twin import twin
from isometry.nn.networks.resnet import ResNet
from isometry.report import Figure, Paragraph, Table
from isometry.theory.comparison import compare
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectrum import Spectrum

TASK = "learning-spectrum"
NAME = "during learning"
CONTROLS = ("trained", "shuffled", "rotated")


def plan(
    *,
    images: str,
    limit: int,
    activations: Sequence[str],
    network: Any,
    training: Any,
    at: Sequence[int],
    c: float,
    seeds: int,
) -> list[RunConfig]:
    """List the runs.

    Args:
        images: Image set.
        limit: Training images.
        activations: Names; all start at the same c.
        network: Width and depth of the fully connected network.
        training: Steps, batch, learning_rate, evaluate_every.
        at: Steps before which the Jacobian is taken; the last is the end of training.
        c: At the start.
        seeds: Networks of each.
    """
    return [
        RunConfig(
            TASK,
            seed,
            {
                "images": images,
                "limit": limit,
                "activation": phi,
                "sigma_w": scheme_sigma_w("equal c", phi, depth=network["depth"], value=c),
                "sigma_b": 0.0,
                "side": 0,
                "c": c,
                "at": list(at),
                **network,
                **training,
                "steps": max(at),
            },
        )
        for phi in activations
        for seed in range(seeds)
    ]


def follow(config: RunConfig, folder: Path) -> Outcome:  # noqa: ARG001
    """Train one classifier and take its trunk's Jacobian on the way.

    Args:
        config: Settings as in :func:`plan`.
        folder: Not used: a killed run starts anew.
    """
    settings = config.settings
    x, y = inputs(settings, dtype=torch.float32)
    trunk = draw_trunk(settings, seed=config.seed, dtype=torch.float32)
    model = Classifier(trunk, x[0].numel())
    rows: list[dict[str, Any]] = []
    image = x[-1]

    def observe(step: int) -> None:
        if step in settings["at"] and isinstance(trunk, ResNet):
            rows.extend(_observations(trunk, image, step, config.rng()))

    training = training_of(config)
    history = train(model, x, y, training, measure=loss_meter(model, x, y), observe=observe)
    return Outcome({"observations": rows, "last_loss": history[-1]["loss"]}, history)


@torch.no_grad()
def branch_jacobians(net: ResNet, x: Tensor) -> FloatArray:
    """Return X_l = D_l W_l of every layer at one input, of shape (depth, width, width).

    Args:
        net: The network, skip 1.
        x: One input.
    """
    layers = zip(net.slopes(x), net.linear_maps(), strict=True)
    return np.stack([(d[:, None] * linear.weight).double().numpy() for d, linear in layers])


def two_parameter_law(X: FloatArray) -> UniversalLaw | None:
    """Return the law of free layers 1 + X_l with the traces of ``X``.

    With t = tau(X), v = tau(X X^T) - t^2 and k = tau(X^2) - t^2 of each layer: c is the sum of
    (v + k) / (1 + t)^2 and log scale that of 2 log|1 + t| - k / (1 + t)^2 (derived here).

    Args:
        X: Of shape (depth, width, width).

    Returns:
        The law, or ``None`` if a number overflows.
    """
    width = X.shape[-1]
    t = np.trace(X, axis1=1, axis2=2) / width
    with np.errstate(over="ignore", invalid="ignore"):
        v = np.sum(X * X, axis=(1, 2)) / width - t**2
        k = np.sum(X * X.transpose(0, 2, 1), axis=(1, 2)) / width - t**2
        c = float(np.sum((v + k) / (1 + t) ** 2))
        log_scale = float(np.sum(2 * np.log(np.abs(1 + t)) - k / (1 + t) ** 2))
    if not math.isfinite(c) or abs(log_scale) > 600:
        return None
    return UniversalLaw(c=max(c, 0.0), scale=math.exp(log_scale))


def shuffled(X: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the layers in orders of their own: every trace of a layer stays, freeness comes.

    Args:
        X: Of shape (depth, width, width).
        rng: Source of the permutations, of rows and columns together.
    """
    width = X.shape[-1]
    orders = [rng.permutation(width) for _ in X]
    return np.stack([layer[np.ix_(order, order)] for layer, order in zip(X, orders, strict=True)])


def jacobians(net: ResNet, x: Tensor, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the Jacobian of a network with skip 1 at one input, and those of its two controls.

    Args:
        net: The network.
        x: One input.
        rng: Source of permutations and rotations.
    """
    X = branch_jacobians(net, x)
    rotations = torch.Generator().manual_seed(int(rng.integers(2**62)))
    rotated = twin(copy.deepcopy(net).double(), x.double()[None], generator=rotations)
    dense = rotated.to_dense().numpy()
    return dict(zip(CONTROLS, (_product(X), _product(shuffled(X, rng)), dense), strict=True))


def _product(X: FloatArray) -> np.ndarray:
    J = np.eye(X.shape[-1])
    for layer in X:
        J += layer @ J
    return J


def _observations(
    net: ResNet, x: Tensor, step: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    X = branch_jacobians(net, x)
    law = two_parameter_law(X) if np.isfinite(X).all() else None
    if law is None:
        return []
    rows = []
    for control, J in jacobians(net, x, rng).items():
        spectrum = Spectrum.from_matrix(J)
        found = compare(spectrum, law)
        rows.append(
            {
                "step": step,
                "control": control,
                "c": law.c,
                "log_scale": math.log(law.scale),
                "ks": found.ks,
                "ks_all": found.ks_all,
                "outliers_s": found.outlier_singular_values.tolist(),
                "condition_number": found.bulk_condition_number,
                "condition_number_law": law.condition_number(),
                "median_log_lam": float(np.log(spectrum.icdf([0.5])[0])),
            }
        )
    return rows


def summarise(runs: Sequence[Run]) -> Findings:
    """Turn the runs into hypotheses, tables and figures.

    Args:
        runs: Finished runs of this study.
    """
    cells = grouped(runs, ("activation",), lambda members: {"rows": _by_step(members)})
    table = [{"activation": cell["activation"], **row} for cell in cells for row in cell["rows"]]
    shown = [
        step_figure(table),
        Paragraph(
            "c and scale come from the traces of the trained layers at one image; KS is the "
            "distance of the bulk of J to that law: as trained, with every layer shuffled by "
            "a permutation of its own (rows and columns together), and with a rotation "
            "between every two layers (the rotated twin). Both keep the traces exactly."
        ),
        Table(table, "Averages over seeds; cond is the bulk's s_max / s_min."),
    ]
    tested = f"{len(cells)} activations, {len(runs)} runs, KS of the bulk"
    reading = Reading(_hypotheses(table, tested), shown, {"steps": table})
    return Findings("During learning: where the law stops", [reading])


def step_figure(table: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the distance to the law against the step, as trained and with the rotated control.

    Args:
        table: Rows with "activation", "step", "trained" and "rotated".
    """
    curves = {
        f"{phi}, {control}": [
            (row["step"] + 1, row[control]) for row in table if row["activation"] == phi
        ]
        for phi in dict.fromkeys(row["activation"] for row in table)
        for control in CONTROLS
        if control != "shuffled"
    }
    caption = "Distance to the law during training, with the rotated control."
    return line_figure(curves, "steps + 1", "KS to the two-parameter law", caption)


def _hypotheses(table: list[dict[str, Any]], tested: str) -> list[Hypothesis]:
    start, last = min(r["step"] for r in table), max(r["step"] for r in table)
    at = {step: [row for row in table if row["step"] == step] for step in (start, last)}
    return [
        _largest("At the start the two-parameter law holds", at[start], "trained", tested),
        _largest(
            f"After {last} steps the two-parameter law still holds", at[last], "trained", tested
        ),
        Hypothesis(
            NAME,
            f"After {last} steps the layers are still as good as free of each other (largest "
            "excess of the KS over that of rotated layers)",
            tested,
            max(row["trained"] - row["rotated"] for row in at[last]),
            high=0.02,
        ),
    ]


def _largest(claim: str, rows: list[dict[str, Any]], key: str, tested: str) -> Hypothesis:
    number = max((row[key] for row in rows), default=None)
    return Hypothesis(NAME, f"{claim} (largest mean KS)", tested, number, high=0.05)


def _by_step(runs: Sequence[Run]) -> list[dict[str, Any]]:
    seen = [row for run in runs for row in run.results["observations"]]
    rows = []
    for step in sorted({row["step"] for row in seen}):
        here = {k: [r for r in seen if (r["step"], r["control"]) == (step, k)] for k in CONTROLS}
        trained = here["trained"]
        rows.append(
            {"step": step}
            | {control: float(np.mean([r["ks"] for r in here[control]])) for control in CONTROLS}
            | {
                "c": float(np.mean([r["c"] for r in trained])),
                "log scale": float(np.mean([r["log_scale"] for r in trained])),
                "cond": float(np.mean([r["condition_number"] for r in trained])),
                "cond of the law": float(np.mean([r["condition_number_law"] for r in trained])),
                "largest outlier s": max(
                    (s for r in trained for s in r["outliers_s"]), default=None
                ),
            }
        )
    return rows


STUDY = register(
    Study(
        name="learning",
        number=4,
        task=TASK,
        plan=lambda images, size: plan(images=images[0], **size),
        run=follow,
        summarise=lambda runs, size: summarise(runs),  # noqa: ARG005
        sizes={
            "smoke": {
                "limit": 300, "activations": ["tanh"], "network": {"width": 64, "depth": 8},
                "training": training_settings(5, 0.03), "at": [0, 1, 5], "c": 1.0, "seeds": 1,
            },
            "quick": {
                "limit": 1000, "activations": ["relu", "tanh"],
                "network": {"width": 64, "depth": 12},
                "training": training_settings(100, 0.03), "at": [0, 1, 10, 100], "c": 1.0,
                "seeds": 1,
            },
            "full": {
                "limit": 10000, "activations": ["relu", "tanh", "gelu"],
                "network": {"width": 256, "depth": 20, "side": 0},
                "training": training_settings(3000, 0.03),
                "at": [0, 1, 10, 100, 1000, 3000], "c": 1.0, "seeds": 3,
            },
        },
    )
)  # fmt: skip
