"""A model at an input, measured under changes that are only tried."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isometry.nn.blocks.blocks import Block, residual_blocks
from isometry.nn.blocks.recording import _discover
from isometry.nn.blocks.traces import BlockTraces, measure
from isometry.nn.init.changes import Changes, parameters_of, plain_name, tried, unwrapped
from isometry.nn.init.steering import Chart, Course, Steering, Visit
from isometry.nn.sandbox.sandbox import Sandbox, check_input

Charted = tuple[list[Block], Chart]
"""The blocks of a model, and where they are among the functions that it calls."""
_PROBES = 6
"""Probes per block, of two backward passes each."""
_SMALL, _ENTRIES = 2**12, 2**15
"""Blocks smaller than the first take more probes, with that many entries together."""


@dataclass(frozen=True)
class Subject:
    """What is measured, with one seed for all probes, so that differences are not noise."""

    f: Callable[[Tensor], Tensor]
    x: Tensor
    root: nn.Module
    blocks: Sequence[str | nn.Module] | None
    batch_norm: str | None
    seed: int

    def found(self, changes: Changes) -> list[Block]:
        """Return the residual blocks of the model under the changes."""
        with tried(self.root, changes):
            return residual_blocks(self.f, self.x, blocks=self.blocks, batch_norm=self.batch_norm)

    def charted(self, changes: Changes) -> Charted:
        """Return the blocks, and where they are among the functions that the model calls."""
        courses = []

        def f(x: Tensor) -> Tensor:
            courses[:] = [Course(x)]
            with courses[0]:
                return self.f(x)

        with tried(self.root, changes):
            blocks = residual_blocks(f, self.x, blocks=self.blocks, batch_norm=self.batch_norm)
        return blocks, courses[0].chart([(b.segment.source, b.segment.target) for b in blocks])

    def trace(self, block: Block) -> BlockTraces:
        """Return a block's traces; its probes are the same every time."""
        generator = torch.Generator().manual_seed(self.seed + block.index)
        count = math.ceil(_ENTRIES / block.size) if block.size < _SMALL else _PROBES
        return measure(block, count, generator)

    def steer(self, changes: Changes, chart: Chart, visit: Visit) -> None:
        """Run the model once under the changes and visit every block where it ends.

        Raises:
            DivergedError: If the model calls other functions than the chart has.
        """
        with tried(self.root, changes), Sandbox(self.x, self.batch_norm):
            start = self.x.detach().clone().requires_grad_().clone()
            with Steering(chart, visit, start):
                self.f(start)


def root_of(
    model: Callable[[Tensor], Tensor] | Any, x: Tensor, batch_norm: str | None
) -> nn.Module:
    """Return the module that holds the parameters: the model, or the one a function calls.

    Raises:
        TypeError: If ``model`` cannot be called.
        NotImplementedError: If the parameters are sharded.
        ValueError: If the parameters have no storage, or a function calls no module or several.
    """
    if isinstance(model, nn.Module):
        root = unwrapped(model)
    elif not callable(model):
        raise TypeError(f"`model` is a {type(model).__name__}; expected a torch.nn.Module.")
    else:
        roots = _discover(model, check_input(x), Sandbox(x, batch_norm))
        if len(roots) != 1:
            raise ValueError(
                f"`model` is a function that calls {len(roots)} separate modules; expected one "
                "module with all parameters. Put them into one `torch.nn.Module`."
            )
        root = roots[0]
    sharded = [name for name, p in parameters_of(root).items() if hasattr(p, "placements")]
    if sharded:
        raise NotImplementedError(
            f"`model` has {sharded[0]!r} sharded over processes; expected whole weights, which a "
            "plan tries out. Plan before `fully_shard` or `parallelize_module` and call `apply_` "
            "afterwards."
        )
    meta = [name for name, p in parameters_of(root).items() if p.is_meta]
    if meta:
        raise ValueError(
            f"`model` has {meta[0]!r} on the meta device; expected parameters with storage. Call "
            "`model.to_empty(device=...)` and a first initialisation."
        )
    return root


def handles(blocks: Sequence[Block], root: nn.Module) -> list[list[tuple[str, ...]]]:
    """Return for each block and each term of its branch the parameters that scale it.

    Raises:
        ValueError: If a term has none, or one that is out of reach.
    """
    known = parameters_of(root)
    found = []
    for block in blocks:
        terms = [tuple(map(plain_name, names)) for names in block.last] or [()]
        for names in terms:
            if not names:
                raise ValueError(
                    f"`model` has no linear map or gain at the end of the branch of block "
                    f"{block.name!r}; expected a parameter that scales it. Add a linear map, or "
                    "leave the block out with `blocks=`."
                )
            for name in names:
                if name not in known:
                    raise ValueError(
                        f"`model` uses {name!r}, which is not among its own parameters; expected "
                        "one module that holds all. Register the modules that it calls."
                    )
        found.append(terms)
    return found
