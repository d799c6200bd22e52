"""c of the blocks of a model that may have none: what can be measured, and why the rest cannot."""

import math

import torch

from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.traces import block_traces
from isometry.nn.sandbox._typing import BatchNorm
from isometry.nn.sandbox.specimen import Specimen


def cumulants(
    specimen: Specimen, source: torch.Generator, *, batch_norm: BatchNorm = None
) -> tuple[tuple[float, ...], str]:
    """Return c of every block, NaN where it is not defined, and what stands in its way, if any.

    Args:
        specimen: The model at its input.
        source: Source of the probes.
        batch_norm: As for :func:`isometry.nn.residual_blocks`.
    """
    try:
        blocks = residual_blocks(specimen, batch_norm=batch_norm)
        numbers = [block for block in blocks if not block.matrix]
        traces = block_traces(numbers, generator=source) if numbers else []
    except (ValueError, NotImplementedError, TypeError) as error:
        return (), str(error).partition("; expected")[0]
    known = iter(traces)
    found = tuple(math.nan if block.matrix else next(known).c for block in blocks)
    matrices = [block.name for block in blocks if block.matrix]
    if not matrices:
        return found, ""
    more = f" and of {len(matrices) - 1} more" if len(matrices) > 1 else ""
    return found, f"the skip of '{matrices[0]}'{more} is a matrix, so that c is not defined"
