"""A plain loop of stochastic gradient descent: the same seed gives the same bits, also resumed.

The batch of step k is drawn from (seed, k) alone, and plain SGD has no memory, so a checkpoint is
the weights and the number of the step. A loss that is no longer finite, or a hundred times the
first one, ends the loop: it is a result of the initialisation and the step size, not a crash.
"""

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from isometry._checks import check_integer, check_real
from isometry._result import Result
from isometry.experiments.engine.runs import RunConfig
from isometry.experiments.engine.storage import remove, write_synced, writing

_DIVERGED = 100.0  # times the first loss
_EVALUATED = 512  # training images whose loss is the measure


@dataclass(frozen=True)
class Training(Result):
    """How to train.

    Args:
        steps: Number of gradient steps.
        batch: Samples of a step.
        learning_rate: Step size of plain SGD, > 0.
        seed: Chooses the batches.
        evaluate_every: Steps between two evaluations of the loss.
        checkpoint_every: Steps between two checkpoints.

    Raises:
        TypeError: If a number is of the wrong type.
        ValueError: If a number is out of range.
    """

    steps: int
    batch: int = 128
    learning_rate: float = 0.05
    seed: int = 0
    evaluate_every: int = 10
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluate_every", "checkpoint_every"):
            check_integer(name, getattr(self, name), minimum=1)
        check_integer("seed", self.seed, minimum=0)
        check_real("learning_rate", self.learning_rate, above=0.0)


def train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    training: Training,
    *,
    measure: Callable[[int], float],
    observe: Callable[[int], None] | None = None,
    folder: Path | None = None,
    rates: Mapping[str, float] | None = None,
    also: Callable[[], Mapping[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Train ``model`` in place with cross entropy.

    Args:
        model: From a batch to logits.
        x: The samples.
        y: Their classes, int64.
        training: Steps, batch, learning rate, seed.
        measure: Called with the number of steps made, for the loss to record.
        observe: Called before every step with its number, and after the last; not called again
            for steps made before a checkpoint.
        folder: Where the checkpoint is written and looked for.
        rates: Factors of the learning rate by the beginnings of parameters' names; 1 elsewhere.
        also: Called at every evaluation, for further entries of its record.

    Returns:
        The history, a record ``{"step", "loss"}`` per evaluation; the last one has ``loss`` None if
        training diverged there.

    Raises:
        OSError: If the checkpoint cannot be written.
    """
    step, history = _resume(model, folder)
    parameters, steps = [], []
    for name, parameter in model.named_parameters():
        factors = [factor for start, factor in (rates or {}).items() if name.startswith(start)]
        parameters.append(parameter)
        steps.append(training.learning_rate * math.prod(factors))
    while True:
        due = step % training.evaluate_every == 0 or step == training.steps
        if due and not (history and history[-1]["step"] == step):
            more = also() if also is not None else {}
            history.append({"step": step, "loss": _bounded(measure(step), history), **more})
        if observe is not None:
            observe(step)
        if step == training.steps or history[-1]["loss"] is None:
            return history
        if folder is not None and step and step % training.checkpoint_every == 0:
            _save(model, step, history, folder)
        pick = np.random.default_rng([training.seed, step]).integers(len(x), size=training.batch)
        index = torch.from_numpy(pick)
        loss = nn.functional.cross_entropy(model(x[index]), y[index])
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient, rate in zip(parameters, gradients, steps, strict=True):
                parameter.sub_(gradient, alpha=rate)
        step += 1


def steps_to(history: Sequence[dict[str, Any]], loss: float) -> float | None:
    """Return the step at which the loss was first reached, interpolated; ``None`` if never.

    Args:
        history: What :func:`train` returned.
        loss: The level.
    """
    last = None
    for record in history:
        if record["loss"] is not None and record["loss"] <= loss:
            if last is None:
                return float(record["step"])
            part = (last["loss"] - loss) / (last["loss"] - record["loss"])
            return last["step"] + part * (record["step"] - last["step"])
        last = record
    return None


def training_settings(steps: int, learning_rate: float, batch: int = 64) -> dict[str, Any]:
    """Return the part of a run's settings that says how to train.

    Args:
        steps: Number of gradient steps.
        learning_rate: Step size of plain SGD.
        batch: Samples of a step.
    """
    return {
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "evaluate_every": 10 if steps >= 200 else 5,
    }


def training_of(config: RunConfig) -> Training:
    """Return how a run trains, from what :func:`training_settings` put into its settings."""
    keys = ("steps", "batch", "learning_rate", "evaluate_every")
    return Training(**{key: config.settings[key] for key in keys}, seed=config.seed)


def loss_meter(model: nn.Module, x: Tensor, y: Tensor) -> Any:
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


def accuracy_meter(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], dict[str, float]]:
    """Return a function that measures the fraction of samples whose class is right.

    Args:
        model: From a batch to logits.
        x: Test samples.
        y: Their classes.
    """

    @torch.no_grad()
    def measure() -> dict[str, float]:
        return {"accuracy": float((model(x).argmax(1) == y).double().mean())}

    return measure


def _bounded(loss: float, history: Sequence[dict[str, Any]]) -> float | None:
    """Return the loss, or ``None`` if training has diverged."""
    most = _DIVERGED * history[0]["loss"] if history else math.inf
    return loss if math.isfinite(loss) and loss <= most else None


def _save(model: nn.Module, step: int, history: list[dict[str, Any]], folder: Path) -> None:
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    notes = {"step": str(step), "history": json.dumps(history)}
    notes["sha256"] = _digest(state, notes)
    content = save(state, metadata=notes)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_synced(folder / ".checkpoint", content)
            os.replace(folder / ".checkpoint", folder / "checkpoint.safetensors")
        finally:  # what a full disk left of it
            remove(folder / ".checkpoint")


def _resume(model: nn.Module, folder: Path | None) -> tuple[int, list[dict[str, Any]]]:
    """Load the checkpoint; a damaged one is warned of and removed, since step 0 gives the same."""
    path = None if folder is None else folder / "checkpoint.safetensors"
    if path is None or not path.exists():
        return 0, []
    try:
        state, notes = _checkpoint(path, model)
        step, history = int(notes["step"]), json.loads(notes["history"])
    except (OSError, SafetensorError, ValueError) as err:
        warnings.warn(
            f"{path} is no checkpoint of this run ({err}); training starts anew.", stacklevel=3
        )
        with writing(path.parent):
            remove(path)
        return 0, []
    model.load_state_dict(state)
    return step, history


def _checkpoint(path: Path, model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a checkpoint.

    Raises:
        ValueError: If it is damaged or another model's.
        OSError: If it cannot be read.
        SafetensorError: If it is of another kind.
    """
    with safe_open(path, framework="pt") as file:
        notes = file.metadata() or {}
    state = load_file(path)
    if notes.get("sha256") != _digest(state, notes):
        raise ValueError("its digest is another")
    if {k: v.shape for k, v in state.items()} != {
        k: v.shape for k, v in model.state_dict().items()
    }:
        raise ValueError("its shapes are another model's")
    return state, notes


def _digest(state: dict[str, Tensor], notes: dict[str, str]) -> str:
    found = hashlib.sha256(f"{notes.get('step')} {notes.get('history')}".encode())
    for name in sorted(state):
        found.update(name.encode())
        found.update(state[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
