"""What the named baselines share: a draw of every linear map, the branches, and the measurement."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict

from torch import Tensor

from isometry.nn.blocks.blocks import Block
from isometry.nn.init.changes import (
    Change,
    Draw,
)
from isometry.nn.init.measured import MeasuredModel, root_of
from isometry.nn.init.plans import InitPlan, PlannedBlock
from isometry.nn.init.scaling import candidates
from isometry.nn.init.sharded import refuse_sharded
from isometry.nn.roles.uses import MapCall, WeightMap
from isometry.nn.sandbox._typing import BatchNorm, Blocks, Generator, Key, Model, ModelInput
from isometry.nn.sandbox.random import generator_or_fresh, seed_from
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.sandbox.unwrap import plain_parameters

Variance = Callable[[int, int], float]
"""Variance of the entries from fan_in and fan_out."""


class Options(TypedDict, total=False):
    """What every baseline may be told besides the model and the input."""

    inputs: ModelInput
    wrt: Key
    output: Key
    blocks: Blocks
    batch_norm: BatchNorm
    generator: Generator


@dataclass(frozen=True)
class DrawnModel:
    """A model whose linear maps are all drawn anew, and what its branches then look like."""

    model: MeasuredModel
    maps: Mapping[str, WeightMap]
    changes: dict[str, Change]
    blocks: tuple[Block, ...] = ()

    def branch(self, block: Block) -> list[str]:
        """Return the names of the branch's linear maps, from its output backwards."""
        return [name for name in block.parameters if name in self.maps]

    def ends(self, block: Block) -> list[list[str]]:
        """Return for each term of the branch the names of what scales it, the nearest first."""
        return [list(names) for names in candidates([block], self.model.root)[0]]

    def times(self, name: str, factor: float) -> None:
        """Multiply what a parameter becomes."""
        known = self.changes.get(name, Change(plain_parameters(self.model.root)[name].detach()))
        self.changes[name] = known.times(factor)

    def weigh(self, name: str, outputs: Tensor) -> None:
        """Multiply every output of a map by its own factor."""
        like = plain_parameters(self.model.root)[name]
        self.changes[name] = self.changes[name].weighted(self.maps[name].spread(outputs, like))


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
    known = {key: options.get(key) for key in ("inputs", "wrt", "output")}
    specimen = Specimen.of(model, x, **known, batch_norm=batch_norm)
    root = root_of(specimen, batch_norm)
    remedy = "Plan before `fully_shard` or `parallelize_module`, `apply_` afterwards."
    refuse_sharded(root, "a baseline", remedy)
    source = generator_or_fresh(options.get("generator"))
    seed = seed_from(source)
    blocks, probes = options.get("blocks"), seed_from(source)
    base = MeasuredModel(specimen, specimen.point, root, blocks, batch_norm, probes)
    maps, changes = base.linear_maps(), {}
    for name, described in maps.items():
        std = math.sqrt(variance(described.fan_in, described.fan_out))
        changes[name] = Change(Draw.of(described, scheme, std, seed))
        if described.bias is not None:
            changes[described.bias] = Change(Draw("uniform", bias(described.fan_in), seed))
    for name, ratio in _effective(base, changes).items():
        known = changes.get(name, Change(plain_parameters(root)[name].detach()))
        changes[name] = known.times(ratio)
    return DrawnModel(base, maps, changes, tuple(base.found(changes)))


def _effective(base: MeasuredModel, changes: Mapping[str, Change]) -> dict[str, float]:
    """Return what makes weights that are computed when the model runs as large as was drawn.

    An equalised learning rate multiplies the weight by a number, weight normalisation replaces
    its size by a magnitude; entries that a mask takes out do not count.
    """
    ratios: dict[str, float] = {}

    def note(call: MapCall) -> Tensor:
        source = changes[call.name].source if call.name in changes else None
        if not call.direct and isinstance(source, Draw) and source.std > 0:
            entries = call.weight[call.weight != 0]
            size = float(entries.abs().square().mean().sqrt()) if len(entries) else 0.0
            if size > 0:
                ratios.setdefault(call.scale, source.std / size)
        return call.run(call.weight)

    base.follow(changes, note)
    return ratios


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
