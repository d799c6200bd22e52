"""Follow a model's Jacobian during training: every so many steps, between steps.

A monitor is a plain callable for any loop. It leaves nothing behind in the model: modes are put
back, no hook stays, and no measurement moves the global random state.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from isometry._checks import check_integer
from isometry._result import Drawn
from isometry._typing import Checked, Integer
from isometry._words import Auto
from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.diagnosis.result import Diagnosis
from isometry.nn.sandbox._typing import (
    BatchNorm,
    Blocks,
    Generator,
    Key,
    Model,
    ModelInput,
    Monitored,
    SpectrumMethod,
    Staged,
)
from isometry.nn.sandbox.random import generator_or_fresh, seed_from
from isometry.nn.sandbox.undo import Undo, reversible
from isometry.nn.scale.report import ScaleReport
from isometry.nn.scale.scale import measure_scale

Log = Callable[[dict[str, float], int], object]
"""Takes the numbers and the step, as ``wandb.log`` does."""


class JacobianMonitor(Drawn):
    """Measure a model every ``every`` steps and hand the numbers to loggers.

    The same probes are used every time, so that what changes is the model. Layers that act
    differently in training (dropout, batch norm) are measured in eval mode.

    Args:
        every: Steps between two measurements, at least 1; step 0 is measured.
        at: "model" diagnoses the whole model, spectrum included. "blocks" measures every residual
            block alone, by reverse products: for models of any size, sharded ones included, at a
            cost of two forward passes and two backward passes a probe.
        mesh: With "blocks", the device mesh, as for :func:`~isometry.nn.measure_scale`.
        split: With "blocks", as for :func:`~isometry.nn.measure_scale`.
        log: Callables ``log(numbers, step)``, one or several.
        prefix: Put in front of the names of the numbers.
        blocks: As for :func:`~isometry.nn.diagnose`.
        wrt: As for :func:`~isometry.nn.diagnose`.
        output: As for :func:`~isometry.nn.diagnose`.
        batch_norm: As for :func:`~isometry.nn.diagnose`.
        method: As for :func:`~isometry.nn.diagnose`.
        num_probes: As for :func:`~isometry.nn.diagnose`; 4 by default with "blocks".
        num_matvecs: As for :func:`~isometry.nn.diagnose`.
        generator: Where the seed of the probes is drawn from, once; without one `torch.manual_seed`
            decides, and with "blocks" it is 0, the same on every rank.

    Attributes:
        history: One ``(step, numbers)`` per measurement.
        last: The last diagnosis, or the last report of the blocks, in full; None before the first.

    Raises:
        TypeError: If ``every`` is not an integer.
        ValueError: If ``every`` is smaller than 1.

    Notes:
        With "blocks" nothing is measured or sent inside a hook: between two steps every rank
        measures its part, and one reduction of a table of sums ends it, so that all ranks have to
        call the monitor. Gradients, optimiser and random state are bitwise as before.
        ``benchmarks/bench_monitor.py`` measures the cost over that of the training.

    Examples:
        >>> monitor = JacobianMonitor(every=100, generator=torch.Generator().manual_seed(0))
        >>> model = nn.Linear(4, 4, bias=False)
        >>> _ = nn.init.eye_(model.weight)
        >>> [monitor(model, torch.ones(1, 4), step)["jacobian/s_max"] for step in (0, 100)]
        [1.0, 1.0]
        >>> monitor(model, torch.ones(1, 4), 150) is None
        True
    """

    def __init__(
        self,
        every: Integer = 200,
        *,
        at: Monitored = "model",
        mesh: Checked[DeviceMesh | None] = None,
        split: Checked[Mapping[str, int] | None] = None,
        log: Log | Sequence[Log] = (),
        prefix: str = "jacobian/",
        blocks: Blocks = None,
        wrt: Key = None,
        output: Key = None,
        batch_norm: BatchNorm = "eval",
        method: SpectrumMethod = None,
        num_probes: Checked[Integer | Auto] = "auto",
        num_matvecs: Checked[Integer | Auto] = "auto",
        generator: Generator = None,
    ) -> None:
        self.every = check_integer("every", every, minimum=1)
        self.history: list[tuple[int, dict[str, float]]] = []
        self.last: Diagnosis | ScaleReport | None = None
        self._loggers: tuple[Log, ...] = (log,) if callable(log) else tuple(log)
        self._prefix = prefix
        self._at: Monitored = at
        self._sharing: dict[str, Any] = {"mesh": mesh, "split": split}
        self._options: dict[str, Any] = {
            "blocks": blocks,
            "wrt": wrt,
            "output": output,
            "batch_norm": batch_norm,
            "method": method,
            "num_probes": num_probes,
            "num_matvecs": num_matvecs,
        }
        shared = at == "blocks" and generator is None
        self._seed = 0 if shared else seed_from(generator_or_fresh(generator))

    def _draw(self, room: Any, ax: Any) -> None:
        """Draw every number that was measured against the step, on a logarithmic axis.

        Raises:
            ValueError: If nothing was measured yet.
        """
        if not self.history:
            raise ValueError("nothing has been measured yet; call the monitor at step 0 first.")
        steps, found = zip(*self.history, strict=True)
        names = {name: None for numbers in found for name in numbers}
        series = {name: [numbers.get(name) for numbers in found] for name in names}
        room.plot_points(ax, series, at=steps, across="step", up="")

    def __call__(self, model: Staged, x: ModelInput, step: Integer) -> dict[str, float] | None:
        """Measure if ``step`` is a multiple of ``every``.

        Args:
            model: The model as it is after this step; with "blocks" also a pipeline stage, or
                a list of those that this process holds.
            x: The input to measure at; the same one every time makes the numbers comparable.
            step: Number of the step, at least 0.

        Returns:
            The numbers, also in ``history``; None where nothing is measured. ``c``, ``scale``,
            ``ks`` and ``largest_share`` are there for residual models only. With "blocks" they are
            ``c``, ``log_scale``, ``growth``, ``largest_share`` and the smallest and largest
            ``backward`` gain of a block; a pipeline stage has the totals of all stages.

        Raises:
            TypeError: As :func:`~isometry.nn.diagnose`.
            ValueError: As :func:`~isometry.nn.diagnose`; a model that has become NaN.
            NotImplementedError: As :func:`~isometry.nn.diagnose`.
        """
        step = check_integer("step", step, minimum=0)
        if step % self.every:
            return None
        measure = self._of_blocks if self._at == "blocks" else self._of_model
        with _evaluating(model):
            measured = measure(model, x)
        found = {f"{self._prefix}{key}": value for key, value in measured.items()}
        self.history.append((step, found))
        for log in self._loggers:
            log(found, step)
        return found

    def _of_model(self, model: Staged, x: ModelInput) -> dict[str, float]:
        generator = torch.Generator().manual_seed(self._seed)
        found = diagnose(cast("Model", model), x, generator=generator, **self._options)
        self.last = found
        return numbers(found)

    def _of_blocks(self, model: Staged, x: ModelInput) -> dict[str, float]:
        blocks, probes = self._options["blocks"], self._options["num_probes"]
        probes = _PROBES if probes == "auto" else probes
        options = {"blocks": blocks, "num_probes": probes, "seed": self._seed}
        found = measure_scale(model, x, **self._sharing, **options)
        self.last = found
        return found.scalars()


_PROBES = 4
"""Probes a block: with a batch of a thousand entries c is known to a few percent."""


def numbers(d: Diagnosis) -> dict[str, float]:
    """Return what is worth a curve in a diagnosis.

    Args:
        d: The diagnosis.

    Returns:
        Singular values ``s_min`` (the smallest above 0) and ``s_median``, each where it is
        resolved, and ``s_max``, the number of ``outliers``, and where there is a prediction ``c``,
        ``scale``, ``ks`` and ``largest_share`` (the part of c that one block carries).
    """
    spectrum = d.spectrum
    positive = spectrum.values[spectrum.values > 0]
    found = {"s_max": float(np.sqrt(spectrum.values[-1])), "outliers": float(len(d.outliers))}
    if spectrum.unresolved[0] == spectrum.unresolved[1]:
        found["s_min"] = float(np.sqrt(positive[0])) if len(positive) else 0.0
    if spectrum.resolves(0.5):
        found["s_median"] = float(np.sqrt(spectrum.icdf(0.5)))
    if d.c is not None and d.scale is not None and d.comparison is not None:
        share = max(row["share of c"] for row in d.rows())
        found |= {"c": d.c, "scale": d.scale, "ks": d.comparison.ks, "largest_share": share}
    return found


@reversible
def _evaluating(undo: Undo, model: object) -> None:
    """Put every module in eval mode, and back in the mode it was in."""
    stages = model if isinstance(model, (list, tuple)) else [model]
    tops = [getattr(stage, "submod", stage) for stage in stages]
    for module in [m for top in tops if isinstance(top, nn.Module) for m in top.modules()]:
        undo.before(setattr, module, "training", module.training)
        module.training = False
