"""What the blocks of a whole model come to: c, the scale, the stream's growth, and a verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import distributed
from torch.distributed import ProcessGroup

from isometry._result import Result, format_table
from isometry.nn.blocks.levels import FAR, NEAR, heavy_blocks
from isometry.nn.scale.result import BlockScale
from isometry.theory.laws.universal import UniversalLaw

_GROWTH = 3.0
"""Growth of the stream that is worth a sentence."""
_OFF = 0.1
"""Relative distance of c from the wanted one up to which an initialisation has landed."""
_LARGEST = 300.0
"""Size of c up to which the law's span is a float64."""
_GAIN = 2.0
"""Factor by which one block may stretch a random vector before it is named."""


@dataclass(frozen=True)
class ScaleReport(Result):
    """The residual blocks of a model and what their parts add up to.

    Attributes:
        c: The sum of the blocks' parts; NaN where no block has one.
        c_standard_error: Of that, from the probes.
        log_scale: The sum of the blocks' parts of log scale.
        log_scale_standard_error: Of that, from the probes.
        growth: Root mean square of the stream behind the last layer over that in front of the
            first, as far as the blocks show it; None where one of them does not.
        blocks: The blocks of this rank's layers, or of all stages on the rank that gathered them.
    """

    _also = ("findings",)

    c: float
    c_standard_error: float
    log_scale: float
    log_scale_standard_error: float
    growth: float | None
    blocks: tuple[BlockScale, ...]

    @classmethod
    def of(
        cls,
        blocks: Sequence[BlockScale],
        stages: ProcessGroup | None = None,
        device: torch.device | str = "cpu",
    ) -> "ScaleReport":
        """Add up over blocks and, in one reduction, over the pipeline stages.

        Args:
            blocks: Of this rank's layers.
            stages: The group of the pipeline stages, which all have to call it.
            device: Where that group reduces.

        Returns:
            The report, with the totals of all stages.
        """
        known = [b.traces for b in blocks if b.traces is not None]
        forward = [math.nan if b.forward is None else math.log(b.forward) for b in blocks]
        parts = torch.tensor(
            [
                math.fsum(t.c for t in known),
                math.fsum(t.standard_error["c"] ** 2 for t in known),
                math.fsum(t.log_scale for t in known),
                math.fsum(t.standard_error["log_scale"] ** 2 for t in known),
                math.fsum(forward),
                len(known),
            ],
            dtype=torch.float64,
            device=device,
        )
        if stages is not None:
            distributed.all_reduce(parts, group=stages)
        c, c_variance, log_scale, variance, growth, count = parts.tolist()
        if not count:
            c = c_variance = log_scale = variance = math.nan
        grown = None if math.isnan(growth) else math.exp(growth)
        return cls(c, math.sqrt(c_variance), log_scale, math.sqrt(variance), grown, tuple(blocks))

    def gathered(self, stages: ProcessGroup | None) -> "ScaleReport":
        """Return the report with the blocks of all pipeline stages.

        Args:
            stages: Their group, which all have to call it; without one the report is whole.

        Returns:
            The report, with the blocks numbered through.
        """
        if stages is None:
            return self
        everyone: list[Any] = [None] * distributed.get_world_size(stages)
        distributed.all_gather_object(everyone, self.blocks, group=stages)
        blocks = [block for own in everyone for block in own]
        return replace(self, blocks=tuple(replace(b, index=i) for i, b in enumerate(blocks)))

    @property
    def shares(self) -> dict[str, float]:
        """{block: its part of c as a fraction}."""
        known = {b.name: b.c for b in self.blocks if b.c is not None}
        return {name: c / self.c if self.c else 0.0 for name, c in known.items()}

    @property
    def findings(self) -> list[str]:
        """The verdict in sentences, the most important first."""
        broken = [b.name for b in self.blocks if not b.finite]
        if broken:
            return [
                f"Not finite from block `{broken[0]}` on: look for NaN or infinite weights there."
            ]
        level = (
            "No layer has a skip that is a number, so there is no c; the gains are in the table."
            if math.isnan(self.c)
            else _level(max(self.c, 0.0), self.c_standard_error)
        )
        return [level, *self._landing(), *self._odd()]

    def scalars(self) -> dict[str, float]:
        """Return what is worth a curve: c, log scale, growth, the largest share, block gains."""
        gains = [block.backward for block in self.blocks]
        found = {"c": self.c, "log_scale": self.log_scale}
        found |= {} if self.growth is None else {"growth": self.growth}
        found |= {"largest_share": max(self.shares.values())} if self.shares else {}
        return found | {"backward_min": min(gains), "backward_max": max(gains)}

    def landed(self, c: float | None = None) -> bool:
        """Return whether every number is finite and c is what the initialisation was to give it.

        Args:
            c: Wanted; a tenth of it and three standard errors are allowed. Any without.

        Returns:
            Whether it is so.
        """
        finite = all(block.finite for block in self.blocks)
        if c is None or not finite:
            return finite
        return abs(self.c - c) <= _OFF * abs(c) + 3 * self.c_standard_error

    def _landing(self) -> list[str]:
        if self.growth is None or not self.growth > _GROWTH:
            return []
        return [
            f"The stream grows {self.growth:.3g} times in root mean square; depth scaling of the "
            "maps that write it, 1/sqrt(2L), keeps it level."
        ]

    def _odd(self) -> list[str]:
        said = heavy_blocks(self.shares)
        dead = [b.name for b in self.blocks if b.traces is not None and b.traces.v == b.c == 0]
        if dead:
            said.append(f"{len(dead)} branches are zero maps, `{dead[0]}` the first.")
        for block in self.blocks:
            if not 1 / _GAIN < block.backward < _GAIN and len(said) < 6:
                said.append(
                    f"Block `{block.name}` alone stretches gradients {block.backward:.3g} times."
                )
        none = [b.name for b in self.blocks if b.skip is None]
        if none and not math.isnan(self.c):
            said.append(
                f"{len(none)} layers have no skip that is a number, `{none[0]}` the first: c is of "
                "the others."
            )
        return said

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each block, with its share of c."""
        shares = self.shares
        return [b.rows()[0] | {"share of c": shares.get(b.name)} for b in self.blocks]

    def __str__(self) -> str:
        growth = "-" if self.growth is None else f"{self.growth:.3g}"
        totals = (
            f"c = {self.c:.4g} ± {self.c_standard_error:.1g}, log scale = {self.log_scale:.4g} ± "
            f"{self.log_scale_standard_error:.1g}, the stream grows {growth} times, "
            f"{len(self.blocks)} blocks"
        )
        return "\n\n".join([format_table(self.rows()), totals, "\n".join(self.findings)])


def _level(c: float, error: float) -> str:
    """Say how far from isometry the universal law of c is."""
    span = UniversalLaw(min(c, _LARGEST)).condition_number()
    word = (
        "Near dynamical isometry"
        if c <= NEAR
        else "Far from isometry"
        if c >= FAR
        else "Some way from isometry"
    )
    said = (
        f"{word}: by the law of c = {c:.3g} ± {error:.1g} the bulk of the singular values spans a "
        f"factor {span:.3g}."
    )
    if c < FAR:
        return said
    return (
        f"{said} Multiplying the last layer of every branch by about {1 / math.sqrt(c):.2g} brings "
        "c near 1."
    )
