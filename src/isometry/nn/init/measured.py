"""A model at an input, measured under changes that are only tried."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from isometry.errors import TheoryWarning
from isometry.nn.blocks.blocks import Block, Stream, residual_stream
from isometry.nn.blocks.recording import _discover
from isometry.nn.blocks.traces import BlockTraces, measure
from isometry.nn.init.changes import (
    Change,
    Changes,
    Draw,
    tried,
)
from isometry.nn.init.replay import RecordedPass, Recorder, Replay
from isometry.nn.roles.uses import Apply, Watch, WeightMap, linear_maps
from isometry.nn.sandbox._typing import BatchNorm, Progress
from isometry.nn.sandbox.sandbox import Sandbox
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.sandbox.undo import Reversible, Undo, reversible
from isometry.nn.sandbox.unwrap import plain_modules, plain_parameters, unwrapped

_PROBES = 6
"""Probes per block, of two backward passes each."""
_SMALL, _ENTRIES = 2**12, 2**15
"""Blocks smaller than the first take more probes, with that many entries together."""


@dataclass(frozen=True)
class MeasuredModel:
    """What is measured, with one seed for all probes, so that differences are not noise."""

    f: Callable[[Tensor], Tensor]
    x: Tensor
    root: nn.Module
    blocks: Sequence[str | nn.Module] | None
    batch_norm: BatchNorm
    seed: int
    progress: Progress | None = None

    def stream(self, changes: Changes) -> Stream:
        """Return the residual stream of the model under the changes."""
        with tried(self.root, changes):
            stream = residual_stream(self.f, self.x, blocks=self.blocks, batch_norm=self.batch_norm)
        return with_numbers(stream)

    def found(self, changes: Changes) -> list[Block]:
        """Return the residual blocks of the model under the changes."""
        return list(self.stream(changes).blocks)

    def under(self, changes: Changes) -> Reversible[list[Block]]:
        """Let the residual blocks be measured as they are under the changes."""
        return _under(self, changes)

    def matrices(self, changes: Changes) -> list[Block]:
        """Return the blocks under the changes, branches told from skips that are matrices."""
        with tried(self.root, changes):
            stream = residual_stream(
                self.f, self.x, blocks=self.blocks, batch_norm=self.batch_norm, terms=True
            )
        return [replace(block, index=place) for place, block in enumerate(stream.every)]

    def recorded(self, changes: Changes) -> tuple[Stream, RecordedPass]:
        """Return the residual stream, and the pass in which it was found."""
        seen: list[tuple[Recorder, Tensor]] = []

        def f(x: Tensor) -> Tensor:
            with Recorder(x, plain_parameters(self.root)) as recorder:
                output = self.f(x)
            seen[:] = [(recorder, output)]
            return output

        with tried(self.root, changes):
            stream = residual_stream(f, self.x, blocks=self.blocks, batch_norm=self.batch_norm)
        recorder, output = seen[0]
        return stream, recorder.recorded(output, stream.blocks)

    def linear_maps(self) -> dict[str, WeightMap]:
        """Return what map every parameter is that is one; values that are not finite may stand."""
        absent = Change(Draw("normal", 0.02, 0))
        known = plain_parameters(self.root)
        changes = {name: absent for name, p in known.items() if not torch.isfinite(p).all()}
        with tried(self.root, changes), Sandbox(self.x, self.batch_norm, [self.root]):
            modules = dict(plain_modules(self.root))
            return linear_maps(plain_parameters(self.root), self.x, self.f, modules)

    def follow(self, changes: Changes, apply: Apply) -> bool:
        """Run the model once with every linear map in the hands of ``apply``.

        Returns:
            False where the model refuses to be followed; `apply` may have been called before.
        """
        with tried(self.root, changes), Sandbox(self.x, self.batch_norm, [self.root]):
            point = self.x.detach().clone()
            try:
                with Watch(plain_parameters(self.root), point, apply):
                    self.f(point)
            except Exception:  # as in `linear_maps`
                return False
        return True

    def replay(self, recorded: RecordedPass, changes: Changes) -> Reversible[Replay]:
        """Let a recorded pass be run again under the changes."""
        return _replay(self, recorded, changes)

    def agrees(self, output: Tensor, changes: Changes) -> bool:
        """Return whether the model has this output under the changes, up to rounding."""
        with (
            tried(self.root, changes),
            Sandbox(self.x, self.batch_norm, [self.root]),
            torch.no_grad(),
        ):
            own = self.f(self.x.clone())
        if own.shape != output.shape:
            return False
        rounding = torch.finfo(own.dtype).eps ** 0.5
        return bool((own - output).norm() <= rounding * own.norm())

    def warn_of_fresh_statistics(self) -> None:
        """Say that a batch normalisation that has seen no data is planned as if it did nothing.

        Warns:
            TheoryWarning: If running statistics are used that were never updated.
        """
        kept = [name for name, _ in self.root.named_buffers() if name.endswith("running_var")]
        if not kept or self.batch_norm == "batch":
            return
        sandbox = Sandbox(self.x, self.batch_norm, [self.root])
        with sandbox, torch.no_grad():
            self.f(self.x.clone())
        fresh = [name for name, initial in sandbox.policy.seen.items() if initial]
        if fresh:
            warnings.warn(
                f"Batch normalisation in {fresh[0]} uses running statistics that were never "
                "updated (mean 0, variance 1), so c is set for a model that does not normalise; "
                "batch_norm='batch' sets it with the statistics of `x`, as training starts.",
                TheoryWarning,
                stacklevel=4,
            )

    def trace(self, block: Block) -> BlockTraces:
        """Return a block's traces; its probes are the same every time."""
        generator = torch.Generator().manual_seed(self.seed + block.index)
        count = math.ceil(_ENTRIES / block.size) if block.size < _SMALL else _PROBES
        return measure(block, count, generator)


def with_numbers(stream: Stream) -> Stream:
    """Pass on a stream some of whose skips are numbers.

    Raises:
        ValueError: If all are matrices.
    """
    if not stream.blocks:
        raise ValueError(
            f"`model` has {len(stream.every)} residual blocks whose skip is a matrix, as "
            f"{stream.every[0].name!r}, so that their c is not defined; expected a block of the "
            "form a * input + branch, which a plan can scale. Plan by `branch_gain=`, the size of "
            "a branch over that of its skip, or name blocks of that form with `blocks=`."
        )
    return stream


@reversible
def _under(_: Undo, model: MeasuredModel, changes: Changes) -> list[Block]:
    return model.found(changes)


@reversible
def _replay(undo: Undo, model: MeasuredModel, recorded: RecordedPass, changes: Changes) -> Replay:
    tried(model.root, changes).change(undo)
    Sandbox(model.x, model.batch_norm, [model.root]).change(undo)
    start = model.x.detach().clone().requires_grad_().clone()
    return Replay(recorded, start, plain_parameters(model.root))


def root_of(specimen: Specimen, batch_norm: BatchNorm) -> nn.Module:
    """Return the module that holds the parameters: the model, or the one a function calls.

    Raises:
        ValueError: If the parameters have no storage, or a function calls no module or several.
    """
    if isinstance(specimen.model, nn.Module):
        root: Any = specimen.model
    else:
        roots = _discover(specimen, specimen.point, Sandbox(specimen.point, batch_norm))
        if len(roots) != 1:
            raise ValueError(
                f"`model` is a function that calls {len(roots)} separate modules; expected one "
                "module with all parameters. Put them into one `torch.nn.Module`."
            )
        root = unwrapped(roots[0])
    meta = [name for name, p in plain_parameters(root).items() if p.is_meta]
    if meta:
        raise ValueError(
            f"`model` has {meta[0]!r} on the meta device; expected parameters with storage. Call "
            "`model.to_empty(device=...)` and a first initialisation."
        )
    return root
