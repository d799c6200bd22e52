"""What the named baselines share: a draw of every linear map, the branches, and the measurement."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from torch import Tensor, nn

from isometry.nn._typing import BatchNorm, Blocks, Generator, Model, ModelInput
from isometry.nn.blocks.blocks import Block
from isometry.nn.init.changes import (
    Change,
    Draw,
    layout,
    parameters_of,
    plain_name,
    seed_from,
    tried,
)
from isometry.nn.init.measured import MeasuredModel, root_of
from isometry.nn.init.plans import InitPlan, PlannedBlock
from isometry.nn.init.scaling import candidates
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.nn.sandbox.sandbox import Sandbox

Variance = Callable[[int, int], float]
"""Variance of the entries from fan_in and fan_out."""


class Options(TypedDict, total=False):
    """What every baseline may be told besides the model and the input."""

    blocks: Blocks
    batch_norm: BatchNorm
    generator: Generator


@dataclass(frozen=True)
class DrawnModel:
    """A model whose linear maps are all drawn anew, and what its branches then look like."""

    model: MeasuredModel
    changes: dict[str, Change]
    blocks: tuple[Block, ...] = ()

    def branch(self, block: Block) -> list[str]:
        """Return the names of the branch's linear maps, from its output backwards."""
        return [plain_name(name) for name, role in block.parameters.items() if role == "linear"]

    def ends(self, block: Block) -> list[list[str]]:
        """Return for each term of the branch the names of what scales it, the nearest first."""
        return [list(names) for names in candidates([block], self.model.root)[0]]

    def times(self, name: str, factor: float) -> None:
        """Multiply what a parameter becomes."""
        known = self.changes.get(name, Change(parameters_of(self.model.root)[name].detach()))
        self.changes[name] = known.times(factor)


def drawn(
    model: Model,
    x: ModelInput,
    options: Options,
    variance: Variance,
    *,
    scheme: str = "normal",
    bias: Callable[[int], float] = lambda _: 0.0,
) -> DrawnModel:
    """Return what a baseline starts from: weights by a variance, biases by a standard deviation."""
    batch_norm = options.get("batch_norm")
    root = root_of(model, x, batch_norm)
    source = generator_or_fresh(options.get("generator"))
    seed = seed_from(source)
    table, changes = layout(root), {}
    for name, (fan_in, fan_out, transposed) in table.items():
        recipe = Draw(scheme, math.sqrt(variance(fan_in, fan_out)), seed, transposed)
        changes[name] = Change(recipe)
        beside = f"{name.removesuffix('weight')}bias"
        if name.endswith("weight") and beside in parameters_of(root):
            changes[beside] = Change(Draw("uniform", bias(fan_in), seed))
    blocks, probes = options.get("blocks"), seed_from(source)
    base = MeasuredModel(model, x, root, blocks, batch_norm, probes)
    return DrawnModel(base, changes, tuple(base.found(changes)))


def measured(base: DrawnModel, name: str, why: str) -> InitPlan:
    """Return the baseline as a plan, with the c that it gives."""
    traces = [base.model.trace(b) for b in base.model.found(base.changes)]
    rows = [
        PlannedBlock(
            name=block.name,
            c_before=None,
            c_after=trace.c,
            target=None,
            tensors=tuple(dict.fromkeys(n for term in base.ends(block) for n in term[:1])),
            factor=_factor(base, block),
            why=why,
        )
        for block, trace in zip(base.blocks, traces, strict=True)
    ]
    kept = {key: change.kept() for key, change in base.changes.items()}
    return InitPlan(None, name, tuple(rows), 1, kept)


def _factor(base: DrawnModel, block: Block) -> float:
    changes = [base.changes.get(name) for term in base.ends(block) for name in term[:1]]
    return next((change.factor for change in changes if change is not None), 1.0)


def output_deviation(base: DrawnModel, module: nn.Module) -> float:
    """Return the standard deviation of a module's output under the changes; 0 if not called."""
    seen: list[float] = []

    def note(_module: nn.Module, _args: object, output: object) -> None:
        if isinstance(output, Tensor):
            seen.append(float(output.detach().double().std(correction=0)))

    model = base.model
    handle = module.register_forward_hook(note)
    try:
        with tried(model.root, base.changes), Sandbox(model.x, model.batch_norm):
            model.f(model.x.clone())
    finally:
        handle.remove()
    return seen[0] if seen else 0.0
