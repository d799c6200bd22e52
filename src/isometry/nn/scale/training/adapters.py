"""Where a monitor's numbers go, and what calls it: the places that people already train in.

None of the packages is imported: their classes are used where the caller has imported them. A run
of Weights & Biases, or of anything else with ``log(numbers, step)``, needs no adapter:
``JacobianMonitor(log=run.log)``.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils._pytree import tree_map_only

from isometry._result import strict
from isometry.nn.sandbox._typing import ModelInput
from isometry.nn.scale.training.monitor import JacobianMonitor, Log

__all__ = [
    "jsonl_log",
    "lightning_callback",
    "tensorboard_log",
    "trainer_callback",
]


@runtime_checkable
class ScalarWriter(Protocol):
    """What ``torch.utils.tensorboard.SummaryWriter`` is here."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int, /) -> object:
        """Write one number."""
        ...


def tensorboard_log(writer: ScalarWriter) -> Log:
    """Return a logger for a TensorBoard ``SummaryWriter``.

    Args:
        writer: Anything with ``add_scalar(name, value, step)``.

    Returns:
        The logger, for ``JacobianMonitor(log=...)``.
    """

    def log(found: Mapping[str, float], step: int) -> None:
        for name, value in found.items():
            writer.add_scalar(name, value, step)

    return log


def jsonl_log(path: str | os.PathLike[str]) -> Log:
    """Return a logger that appends a line of JSON per measurement, for ``isometry watch``.

    Args:
        path: The file, such as "runs/first/monitor.jsonl"; it and its folder are made where they
            are missing, and a line that a killed process left unfinished is ended.

    Returns:
        The logger, for ``JacobianMonitor(log=...)``. A line holds "step", "time" (seconds since
        1970) and the numbers by name, and is written at once, so that a reader sees whole lines.

    Raises:
        OSError: If the file cannot be written.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)

    def log(found: Mapping[str, float], step: int) -> None:
        line = json.dumps(strict({"step": step, "time": time.time(), **found}), allow_nan=False)
        with open(file, "ab+") as stream:
            if stream.tell() > 0:
                stream.seek(-1, os.SEEK_END)
                line = line if stream.read(1) == b"\n" else f"\n{line}"
            stream.write(f"{line}\n".encode())

    return log


def lightning_callback(monitor: JacobianMonitor, x: ModelInput) -> Any:
    """Return a Lightning ``Callback`` that monitors and logs to the trainer's loggers.

    Lightning is not imported: its class is used where the caller has imported it, under either
    of its names.

    Args:
        monitor: The monitor; it measures before the first step and then at every step of the
            optimiser that it is due at, however many batches are accumulated.
        x: The input to measure at; it is moved to where the module is.

    Returns:
        The callback, to be passed to the trainer.
    """
    modules = (sys.modules.get(name) for name in ("lightning.pytorch", "pytorch_lightning"))
    base = next((module.Callback for module in modules if module is not None), object)

    def measure(self: Any, trainer: Any, pl_module: Any, *batch: Any) -> None:
        del self, batch
        step = trainer.global_step
        found = _once(monitor, pl_module, _moved(x, pl_module.device), step)
        for logger in trainer.loggers if found else ():
            logger.log_metrics(found, step=step)

    methods = {"on_train_start": measure, "on_train_batch_end": measure}
    return type("JacobianCallback", (base,), methods)()


def trainer_callback(monitor: JacobianMonitor, x: ModelInput) -> Any:
    """Return a ``TrainerCallback`` of transformers that monitors.

    Args:
        monitor: The monitor, with a ``log`` of its own; it measures before the first step and
            then at every step that it is due at.
        x: The input to measure at; it is moved to where the model is.

    Returns:
        The callback, for ``Trainer(callbacks=[...])``.

    Raises:
        ImportError: If transformers has not been imported, whose class this is.
    """
    if "transformers" not in sys.modules:
        raise ImportError("`trainer_callback` needs transformers; `import transformers` first.")

    def measure(self: Any, args: Any, state: Any, control: Any, model: Any, **more: Any) -> None:
        del self, args, control, more
        _once(monitor, model, _moved(x, model.device), state.global_step)

    methods = {"on_train_begin": measure, "on_step_end": measure}
    return type("JacobianCallback", (sys.modules["transformers"].TrainerCallback,), methods)()


def _once(monitor: JacobianMonitor, model: Any, x: Any, step: int) -> dict[str, float] | None:
    """Measure, but not again at a step that was measured."""
    if monitor.history and monitor.history[-1][0] == step:
        return None
    return monitor(model, x, step)


def _moved(x: Any, device: Any) -> Any:
    return tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), x)
