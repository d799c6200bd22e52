"""Exact products with J and its transpose through autograd, for whatever ``f`` is made of."""

import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from isometry.nn.sandbox.random import LOW
from isometry.nn.sandbox.sandbox import Sandbox
from isometry.nn.tape import (
    AUTOGRAD,
    Forward,
    Layout,
    NotRecordable,
    Recorded,
    evaluate,
    follow,
    settled,
    whole,
)

_ROW_ENTRIES = 2**24
"""Largest J that is written out for want of a product J v."""


@runtime_checkable
class Route(Protocol):
    """Linearisation of ``f`` at one point: ``k`` products at once, each in the tensor's shape."""

    description: str
    gap: float | None
    """The adjoint gap, where the route was tested when it was made."""

    def jvp(self, V: Tensor) -> Tensor:
        """Map ``(k, *x.shape)`` to ``(k, *y.shape)`` by J."""
        ...

    def vjp(self, U: Tensor) -> Tensor:
        """Map ``(k, *y.shape)`` to ``(k, *x.shape)`` by the transpose of J."""
        ...


class Point:
    """Where J is taken: ``f`` at ``x``, evaluated once, when a route first asks.

    It sees other random numbers than the first evaluation did, so that a random ``f`` shows.
    """

    def __init__(self, f: Callable[[Tensor], Tensor], x: Tensor, sandbox: Sandbox) -> None:
        self.f, self.x, self.sandbox = f, x, sandbox

    @cached_property
    def followed(self) -> Forward | NotRecordable:
        """The pass with every op followed, or what stopped it."""
        if self.sandbox.ranks:  # collectives take part, and gathered weights are freed after use
            return NotRecordable("several processes compute it together")
        try:
            with self.sandbox.varied(LOW):
                return follow(self.f, self.x)
        except Exception as error:  # whatever a recorder meets in a foreign model
            return NotRecordable(str(error)).with_traceback(None)

    @cached_property
    def recorded(self) -> Recorded:
        """The linear maps of the pass.

        Raises:
            NotRecordable: If an op has none, or they are not autograd's.
        """
        if isinstance(self.followed, NotRecordable):
            raise self.followed
        return settled(self.followed)

    @cached_property
    def graph(self) -> Forward:
        """The pass with autograd's graph: the one that was followed, where there is one."""
        followed = self.__dict__.get("followed")
        if isinstance(followed, Forward) and followed.graph_holds:
            return followed
        return self.varied(LOW)

    def release(self) -> None:
        """Give up the pass, where the chosen route does not need it."""
        for name in ("followed", "recorded", "graph"):
            self.__dict__.pop(name, None)

    def varied(self, variation: int) -> Forward:
        """Evaluate ``f`` once more, with other random numbers."""
        with self.sandbox.varied(variation):
            return evaluate(self.f, self.x)


class TapeRoute:
    """Replay recorded linear operations: no forward pass and no autograd per product."""

    def __init__(self, point: Point) -> None:
        recorded = point.recorded
        self.gap: float | None = recorded.gap
        self.tape = recorded.tape(0, recorded.stop, recorded.source, recorded.target)
        self.description = self.tape.route

    def jvp(self, V: Tensor) -> Tensor:
        """Replay forwards."""
        return self.tape.jvp(V)

    def vjp(self, U: Tensor) -> Tensor:
        """Replay the transposed operations backwards."""
        return self.tape.vjp(U)


class AutogradRoute:
    """Keep the graph of one evaluation; J^T u by backward, J v by a second backward."""

    description = AUTOGRAD
    gap: float | None = None

    def __init__(self, point: Point, forward: Forward | None = None) -> None:
        self._sandbox = point.sandbox
        forward = point.graph if forward is None else forward
        self._x, self.output, self._known = forward.leaf, forward.output, forward.connected
        self._transpose: tuple[Tensor, Tensor] | None = None
        self._batches = True

    def vjp(self, U: Tensor) -> Tensor:
        """Apply the transpose."""
        self._sandbox.check_weights()
        with self._sandbox:
            return self._pull_back(self.output, self._x, U)

    def jvp(self, V: Tensor) -> Tensor:
        """Differentiate u -> J^T u, which is linear, with respect to u."""
        self._sandbox.check_weights()
        with self._sandbox:
            if self._transpose is None:
                self._transpose = self._transposed_graph()
            u, g = self._transpose
            return self._pull_back(g, u, V)

    def _transposed_graph(self) -> tuple[Tensor, Tensor]:
        """Return u and J^T u as a function of it.

        Raises:
            RuntimeError: If the graph of J^T u was cut, as by ``once_differentiable``.
        """
        u = torch.ones_like(self.output).requires_grad_()
        (g,) = torch.autograd.grad(
            self.output, self._x, u, create_graph=True, materialize_grads=True
        )
        if not _connected(g, u) and g.any():
            raise RuntimeError("its backward cannot be differentiated")
        return u, g

    def _pull_back(self, output: Tensor, source: Tensor, cotangents: Tensor) -> Tensor:
        """Backward for every cotangent, in one batch where every operation allows it."""
        if not output.requires_grad:
            return cotangents.new_zeros(len(cotangents), *source.shape)
        if self._batches and len(cotangents) > 1:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # batching some operations is slow, not wrong
                    return _grad(output, source, cotangents, batched=True)
            except RuntimeError:
                self._batches = False  # no batching rule: one by one, where an error is real
        return torch.stack([_grad(output, source, u) for u in cotangents])

    @property
    def depends_on_input(self) -> bool:
        """Whether a path from the input to the output exists in the graph."""
        if self._known is not None:
            return self._known
        with self._sandbox:
            return _connected(self.output, self._x)


class ForwardRoute(AutogradRoute):
    """As `AutogradRoute`, with J v by forward mode: one evaluation of ``f`` per product."""

    description = "autograd: J v by forward mode, J^T u by backward on a kept graph"

    def __init__(self, point: Point) -> None:
        super().__init__(point)
        self._f = point.f

    def jvp(self, V: Tensor) -> Tensor:
        """Push dual numbers through ``f``."""
        self._sandbox.check_weights()
        with self._sandbox, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, on first use
            return torch.stack([self._push(v) for v in V])

    def _push(self, v: Tensor) -> Tensor:
        with forward_ad.dual_level():
            y = self._f(forward_ad.make_dual(self._x.detach().clone(), v))
            tangent = forward_ad.unpack_dual(y).tangent
            return torch.zeros_like(self.output) if tangent is None else tangent.clone()


class RowsRoute(AutogradRoute):
    """As `AutogradRoute`, with J v from the rows of J: one backward pass each, made once."""

    description = "autograd: J v by the rows of J, J^T u by backward on a kept graph"

    def __init__(self, point: Point) -> None:
        super().__init__(point)
        x = point.x
        entries = self.output.numel() * x.numel()
        if entries > _ROW_ENTRIES:
            raise RuntimeError(f"J has {entries:.1g} entries, too many to take row by row")
        self._dense = whole(self.vjp, Layout.of(self.output), Layout.of(x))

    def jvp(self, V: Tensor) -> Tensor:
        """Multiply by the matrix."""
        self._sandbox.check_weights()
        return (V.reshape(len(V), -1) @ self._dense.T).reshape(-1, *self.output.shape)


def _connected(output: Tensor, source: Tensor) -> bool:
    if not output.requires_grad:
        return False
    with torch.enable_grad():  # of a number: for a cotangent torch would import sympy
        total = output.sum()
    (g,) = torch.autograd.grad(total, source, retain_graph=True, allow_unused=True)
    return g is not None


def _grad(output: Tensor, source: Tensor, cotangent: Tensor, *, batched: bool = False) -> Tensor:
    (gradient,) = torch.autograd.grad(
        output,
        source,
        cotangent,
        retain_graph=True,
        is_grads_batched=batched,
        materialize_grads=not batched,
        allow_unused=True,
    )
    shape = (len(cotangent), *source.shape) if batched else source.shape
    return source.new_zeros(shape) if gradient is None else gradient.detach()
