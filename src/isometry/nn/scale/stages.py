"""Pipeline stages: the stream handed on from one to the next, with the number of layers so far."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import ProcessGroup

_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_HEADER = 16
"""Numbers that go ahead of the stream: layers so far, type, dimensions, shape."""


def modules_of(model: Any) -> list[nn.Module]:
    """Return the module, or those of the pipeline stages that this rank holds, in their order.

    Raises:
        TypeError: If it is neither a module nor a list of stages.
    """
    stages = list(model) if isinstance(model, (list, tuple)) else [model]
    inner = [getattr(s, "submod", s) for s in sorted(stages, key=lambda s: stage_index(s) or 0)]
    wrong = [type(module).__name__ for module in inner if not isinstance(module, nn.Module)]
    if wrong or not inner:
        raise TypeError(
            f"`model` is a {wrong[0] if wrong else 'list without an entry'}; expected a module, a "
            "`torch.distributed.pipelining.PipelineStage` or a list of stages."
        )
    return inner


def stage_index(stage: Any) -> int | None:
    """Return the place of a pipeline stage in the model; None of an ordinary module."""
    return getattr(stage, "stage_index", None)


def receive(group: ProcessGroup | None, source: int, device: torch.device) -> tuple[int, Tensor]:
    """Return the number of layers so far and the stream, from the rank with the stage before."""
    header = torch.zeros(_HEADER, dtype=torch.int64, device=device)
    distributed.recv(header, group=group, group_src=source)
    layers, kind, ndim, *shape = header.tolist()
    stream = torch.empty(shape[:ndim], dtype=_TYPES[kind], device=device)
    distributed.recv(stream, group=group, group_src=source)
    return layers, stream


def send(group: ProcessGroup | None, target: int, layers: int, stream: Any) -> None:
    """Hand the stream on to the rank with the next stage.

    Raises:
        TypeError: If it is no plain tensor of real numbers.
    """
    if not isinstance(stream, Tensor) or stream.dtype not in _TYPES or hasattr(stream, "to_local"):
        raise TypeError(
            f"A pipeline stage returns a {type(stream).__name__}; expected one plain tensor of "
            "real numbers. Let `output_layouts=Replicate()` end a tensor-parallel stage."
        )
    about: Sequence[int] = (layers, _TYPES.index(stream.dtype), stream.ndim, *stream.shape)
    header = torch.zeros(_HEADER, dtype=torch.int64)
    header[: len(about)] = torch.tensor(about)
    distributed.send(header.to(stream.device), group=group, group_dst=target)
    distributed.send(stream.contiguous(), group=group, group_dst=target)
