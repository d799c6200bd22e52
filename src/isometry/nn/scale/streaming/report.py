"""What a streamed model's layers add up to: c, growth, and what lint has to say of all of them."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from isometry._result import Result, format_table
from isometry.nn.linting.finding import Finding, grouped, ordered
from isometry.nn.roles.recipes import Recipe
from isometry.nn.scale.result import BlockScale
from isometry.nn.scale.streaming.gathered import gathered
from isometry.nn.scale.streaming.passed import Passed

_WIDTH = 96


@dataclass(frozen=True)
class StreamReport(Result):
    """What :func:`isometry.nn.stream` found; ``print`` it.

    Attributes:
        model: Name of the model's class.
        weights: Where they came from, in words.
        blocks: The residual blocks of all layers, from the input on.
        growth: {layer: root mean square of the stream behind it over that before the first one}.
        c: Sum of the blocks' parts of c.
        c_standard_error: Of that, over the probes.
        log_scale: Sum of the blocks' parts of log scale.
        findings: What lint found in the layers, the errors first.
        law: What the standard deviations of most maps follow, in words; empty where nothing.
        recipe: How well the maps follow the recipe, or the one that fits best, in words.
    """

    model: str
    weights: str
    blocks: tuple[BlockScale, ...]
    growth: dict[str, float] = field(hash=False)
    c: float
    c_standard_error: float
    log_scale: float
    findings: tuple[Finding, ...] = ()
    law: str = ""
    recipe: str = ""

    @classmethod
    def of(
        cls,
        model: str,
        weights: str,
        passes: Sequence[Passed],
        recipe: Recipe | None,
        trained: bool,
    ) -> "StreamReport":
        """Put the passes of all layers together.

        Args:
            model: Name of the model's class.
            weights: Where they came from.
            passes: One for every layer, in their order.
            recipe: What the weights are held to; None takes the recipe that fits best.
            trained: Whether they are meant to be trained.
        """
        sums = [one for passed in passes for one in passed.blocks]
        blocks = tuple(BlockScale.of(one, index) for index, one in enumerate(sums))
        traces = [block.traces for block in blocks if block.traces is not None]
        first = passes[0].sizes[0]
        behind = [passed.sizes[1] for passed in passes]
        names = _numbered([passed.name for passed in passes])
        found = gathered(passes, recipe, trained)
        return cls(
            model=model,
            weights=weights,
            blocks=blocks,
            growth={n: size / first if first else math.nan for n, size in zip(names, behind)},  # noqa: B905
            c=math.fsum(trace.c for trace in traces),
            c_standard_error=math.sqrt(math.fsum(t.standard_error["c"] ** 2 for t in traces)),
            log_scale=math.fsum(trace.log_scale for trace in traces),
            findings=ordered([*(f for p in passes for f in p.findings), *found.findings]),
            law=found.law,
            recipe=found.recipe,
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per residual block, with the stream's growth up to its layer's end."""
        rows = []
        for block in self.blocks:
            (row,) = block.rows()
            layer = next((n for n in self.growth if _inside(block.name, n)), None)
            rows.append(row | {"stream": None if layer is None else self.growth[layer]})
        return rows

    def summary(self) -> dict[str, Any]:
        """Return the numbers that are one for the whole model."""
        last = next(reversed(self.growth.values()), math.nan)
        counts = {f"{s}s": sum(f.severity == s for f in self.findings) for s in _SEVERITIES}
        return {
            "c": self.c, "c s.e.": self.c_standard_error, "log_scale": self.log_scale,
            "growth": last,
        } | counts  # fmt: skip

    def __str__(self) -> str:
        last = next(reversed(self.growth.values()), math.nan)
        said = (
            f"{self.model}, {self.weights}: {len(self.blocks)} residual blocks in "
            f"{len(self.growth)} layers, c = {self.c:.4g} ± {self.c_standard_error:.1g}, log scale "
            f"= {self.log_scale:.4g}, the stream grows {last:.3g} times."
        )
        lines = [said, *(text for text in (self.law, self.recipe) if text)]
        lines += [f"{group.severity}: {group}" for group in grouped(self.findings)]
        text = "\n".join(textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in lines)
        return f"{format_table(self.rows())}\n\n{text}"


_SEVERITIES = ("error", "warning", "note")


def _inside(block: str, layer: str) -> bool:
    return block == layer or block.startswith((f"{layer}.", f"{layer} "))


def _numbered(names: Sequence[str]) -> list[str]:
    """Tell the calls of one layer apart."""
    seen: dict[str, int] = {}
    told = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        told.append(name if seen[name] == 1 else f"{name} [{seen[name]}]")
    return told
