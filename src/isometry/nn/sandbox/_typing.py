"""What the functions about models take, in the words of the public interface."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from isometry import _words
from isometry._typing import Checked


@runtime_checkable
class Operator(Protocol):
    """A matrix known by its products; :class:`isometry.nn.JacobianOperator` is one."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type of the operands and the products."""
        ...

    @property
    def device(self) -> torch.device:
        """Where operands have to be."""
        ...

    @property
    def T(self) -> "Operator":  # noqa: N802 (the field's name)
        """The transpose."""
        ...

    def __matmul__(self, v: Tensor, /) -> Tensor:
        """Multiply a vector, or the columns of a matrix."""
        ...

    def to_dense(self) -> Tensor:
        """Return the whole matrix."""
        ...


@runtime_checkable
class Ranked(Operator, Protocol):
    """An operator that knows how large its rank can be."""

    @property
    def rank_bound(self) -> int:
        """The largest rank that the matrix can have."""
        ...

    def compact(self) -> Tensor:
        """Return a matrix with the same singular values, some zeros left out."""
        ...


Model: TypeAlias = Checked[Callable[..., Any]]
"""A module, or a function that calls one, from one floating-point tensor to one."""


class Stage(Protocol):
    """A pipeline stage; ``torch.distributed.pipelining.PipelineStage`` is one."""

    submod: nn.Module
    stage_index: int


Staged: TypeAlias = Checked[Callable[..., Any] | Stage | Sequence[Stage]]
"""A model, or the pipeline stages of one that this process holds."""

ModelInput: TypeAlias = Checked[Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any] | None]
"""The point at which a model is measured: a tensor, or a tuple or mapping of the model's inputs,
of which one is the point and the others are held. Of token ids the point is what the model first
makes of them, its embeddings."""

Key: TypeAlias = Checked[str | int | None]
"""Name or place of an input or of a part of the output; None takes the first that fits."""

Blocks: TypeAlias = Checked[Sequence[str | nn.Module] | None]
"""Modules, or their names, to take as residual blocks; None finds them by structure."""

BatchNorm: TypeAlias = Checked[_words.BatchNorm | None]
"""Without it, layers in train mode are refused."""

SpectrumMethod: TypeAlias = Checked[_words.SpectrumMethod | None]
"""None chooses by size."""

PlanMethod: TypeAlias = Checked[_words.PlanMethod | None]
"""None chooses by the model."""

RouteName: TypeAlias = Checked[_words.RouteName | None]
"""None takes the fastest that passes its tests."""

Rotated: TypeAlias = Checked[_words.Rotated]
"""What is rotated between the blocks."""

Monitored: TypeAlias = Checked[_words.Monitored]
"""What a monitor measures."""

Scheme: TypeAlias = Checked[_words.Scheme]
"""How weights are drawn."""

Progress: TypeAlias = Callable[[int, int], object]
"""Called with how much is done and how much there is to do, as far as that is known."""

Generator: TypeAlias = Checked[torch.Generator | None]
"""Where random numbers come from."""
