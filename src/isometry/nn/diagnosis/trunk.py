"""A model whose blocks are wanted as well, and what its largest singular value stretches."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from isometry.nn.blocks.recording import Recording, observe
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.jacobian.routes import Point
from isometry.nn.sandbox._typing import BatchNorm, Operator
from isometry.nn.sandbox.random import LOW
from isometry.nn.sandbox.sandbox import Sandbox
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.tape import Forward, NotRecordable, Recorded


class WatchedPoint(Point):
    """The one pass of a diagnosis: J, the trunk, the stages and the blocks are parts of it."""

    def __init__(
        self, f: Specimen, evaluate: Callable[[Tensor], Tensor], x: Tensor,
        sandbox: Sandbox, named: bool,
    ) -> None:  # fmt: skip
        super().__init__(evaluate, x, sandbox)
        self._model, self._named = f, named

    @cached_property
    def recording(self) -> Recording:
        """The pass with the modules that computed it."""
        return observe(self._model, self.x, self.sandbox)

    @cached_property
    def followed(self) -> Forward | NotRecordable:
        """The pass with every op followed, or what stopped it."""
        if self.sandbox.ranks:
            return super().followed
        forward = self.recording.maps.forward
        return NotRecordable(forward.refusal) if forward.recorder is None else forward

    @cached_property
    def recorded(self) -> Recorded:
        """The linear maps of the pass.

        Raises:
            NotRecordable: If an op has none, or they are not autograd's.
        """
        self.recording.settle(named=self._named)
        maps = self.recording.maps
        if maps.recorded is None:
            raise NotRecordable(maps.refusal)
        return maps.recorded

    @cached_property
    def graph(self) -> Forward:
        """The pass with autograd's graph."""
        return self.varied(LOW) if self.sandbox.ranks else self.recording.maps.forward

    def release(self) -> None:
        """Keep the pass: the blocks are parts of it."""


class WatchedOperator(JacobianOperator):
    """The Jacobian of a model whose blocks are wanted as well."""

    def __init__(self, model: Specimen, x: Tensor, batch_norm: BatchNorm, *, named: bool) -> None:
        self._named = named
        super().__init__(model, x, batch_norm=batch_norm)

    @property
    def recording(self) -> Recording:
        """The pass that the operator is a part of."""
        return self._watched.recording

    def _pass(self) -> Point:
        evaluate, named = self._evaluate, self._named
        self._watched = WatchedPoint(self._f, evaluate, self._x, self._sandbox, named)
        return self._watched


def same_products(one: Operator, other: Operator, generator: torch.Generator) -> bool:
    """Return whether the transposes give the same product with one random vector."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    tolerance = torch.finfo(one.dtype).eps ** 0.5
    probe = torch.randn(one.shape[0], generator=generator, dtype=one.dtype).to(one.device)
    expected, got = one.T @ probe, other.T @ probe
    return float((expected - got).norm()) <= tolerance * float(expected.norm())


def common_part(u: Tensor) -> tuple[float, dict[int, float]]:
    """Return how much of a unit tensor is one constant, and how much is constant along each axis.

    Axes of length under six are left out: a random vector is a sixth constant along them.
    """
    whole = float(u.mean() ** 2 * u.numel())
    along = {
        axis: float((u.mean(axis) ** 2).sum() * size)
        for axis, size in enumerate(u.shape)
        if size >= 6
    }
    return whole, along
