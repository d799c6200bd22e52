r"""The numbers of one residual block, and of all: what the sums of the ranks come to.

With t, v, k of X from :mod:`isometry.nn.blocks.traces`, a random vector is stretched backward by

    sqrt(a^2 + 2 a t + tau(X Xᵀ)),

which is the mean of a random vector forward as well; the stream itself goes by its own measure.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from isometry._result import Result
from isometry.nn.blocks.traces import BlockTraces
from isometry.nn.sandbox.precision import wide_on_cpu
from isometry.nn.scale.products import BlockSums


@dataclass(frozen=True)
class BlockScale(Result):
    """The numbers of one residual block y = skip * s + f(s), with X = df/ds.

    Attributes:
        name: The block's name.
        index: Its place among the model's blocks.
        size: N, the number of entries of y in the whole batch.
        skip: The factor of the stream; None where it is a matrix or no addition is seen, so that t,
            v, k, c and log_scale are None.
        forward: Root mean square of y over that of s; None where s or y is no tensor of its own.
        backward: Root mean square of Jᵀz over that of z, for random z.
        traces: t, v, k, c and log scale with standard errors; None where they are not defined.
    """

    _also = "c", "log_scale", "traces"

    name: str
    index: int
    size: int
    skip: float | None
    forward: float | None
    backward: float
    traces: BlockTraces | None = field(default=None, repr=False)

    @classmethod
    def of(cls, sums: BlockSums, index: int = 0) -> "BlockScale":
        """Return the numbers of sums over the whole batch.

        Args:
            sums: What :func:`isometry.nn.scale.products.block_sums` returns, or their total.
            index: The block's place among the model's.

        Returns:
            The numbers.
        """
        samples = wide_on_cpu(sums.products).numpy() / sums.entries
        before, after = sums.squares.tolist()
        forward = math.sqrt(after / before) if before > 0 and math.isfinite(after) else None
        if sums.skip is None:
            return cls(sums.name, index, sums.entries, None, forward, math.sqrt(samples[1].mean()))
        traces = BlockTraces(sums.name, index, sums.entries, sums.skip, samples)
        square = sums.skip**2 + 2 * sums.skip * samples[0].mean() + samples[1].mean()
        backward = math.sqrt(max(float(square), 0.0))
        return cls(sums.name, index, sums.entries, sums.skip, forward, backward, traces)

    @property
    def c(self) -> float | None:
        """The block's own part of c."""
        return None if self.traces is None else self.traces.c

    @property
    def log_scale(self) -> float | None:
        """The block's own part of log scale."""
        return None if self.traces is None else self.traces.log_scale

    @cached_property
    def finite(self) -> bool:
        """Whether every number is one."""
        samples = np.zeros(1) if self.traces is None else self.traces.samples
        return bool(np.isfinite(samples).all()) and math.isfinite(self.backward)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row: the name, the traces and both gains."""
        traces = self.traces
        keys = ("t", "v", "k", "c")
        numbers = {key: None if traces is None else getattr(traces, key) for key in keys}
        error = None if traces is None else traces.standard_error["c"]
        gains = {"forward": self.forward, "backward": self.backward}
        return [{"block": self.name, "skip": self.skip} | numbers | {"c s.e.": error} | gains]
