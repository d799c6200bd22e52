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
        ValueError: If it has no values.
    """
    stages = list(model) if isinstance(model, (list, tuple)) else [model]
    inner = [getattr(s, "submod", s) for s in sorted(stages, key=lambda s: stage_index(s) or 0)]
    wrong = [type(module).__name__ for module in inner if not isinstance(module, nn.Module)]
    if wrong or not inner:
        raise TypeError(
            f"`model` is a {wrong[0] if wrong else 'list without an entry'}; expected a module, a "
            "`torch.distributed.pipelining.PipelineStage` or a list of stages."
        )
    empty = next((n for m in inner for n, p in m.named_parameters() if p.device.type == "meta"), "")
    if empty:
        raise ValueError(
            f"`model` has {empty} and maybe others on the meta device, without values; expected "
            "weights in memory. Materialise them, `model.to_empty(device=...)`, and draw or load "
            "them: `inn.draw_(model, recipe)`."
        )
    return inner


def check_stages(model: Any, staged: bool) -> None:
    """Refuse a pipeline stage without a dimension of stages, and a whole model on one.

    Args:
        model: A module, a stage or a list of them.
        staged: Whether the mesh has a dimension of stages with several ranks.

    Raises:
        ValueError: If it is so; layers would be counted too often, or the first would be missing.
    """
    stages = list(model) if isinstance(model, (list, tuple)) else [model]
    indices = [stage_index(stage) for stage in stages]
    if staged and None in indices:
        raise ValueError(
            f"`model` is a {type(stages[indices.index(None)]).__name__} and the mesh has pipeline "
            'stages, "pp"; expected the stages of this rank. Wrap its part of the layers in a '
            '`torch.distributed.pipelining.PipelineStage`, or make a mesh without "pp".'
        )
    known = [(s, place) for s, place in zip(stages, indices, strict=True) if place is not None]
    count = max((getattr(stage, "num_stages", place + 1) for stage, place in known), default=0)
    if not staged and count > len(stages):
        raise ValueError(
            f"`model` is {len(stages)} of {count} pipeline stages and the mesh has no dimension "
            '"pp" of several ranks; expected the ranks of the stages along it. Name that '
            'dimension "pp" and pass the mesh.'
        )


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
