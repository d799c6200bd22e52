"""Products with the Jacobian of one piece of a recorded forward pass, many probes at once."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from isometry.nn.blocks.graph import layout_of
from isometry.nn.sandbox.ranks import Ranks
from isometry.nn.tape import (
    AUTOGRAD,
    Forward,
    Layout,
    NotRecordable,
    Program,
    Recorded,
    Tape,
    Vertex,
    first_line,
    settled,
)


class Maps:
    """The linear maps between the tensors of one pass: a recording, or autograd's graph alone."""

    def __init__(self, forward: Forward, ranks: Ranks) -> None:
        self.forward, self.ranks = forward, ranks
        self.refusal = ""
        """Why there is no recording."""
        self.recorded: Recorded | None = None

    def settle(self, ends: Iterable[Vertex]) -> None:
        """Make programs that may start from and end in these tensors, where they prove right."""
        if self.recorded is not None or self.refusal:
            return
        try:
            self.recorded = settled(self.forward, ends)
        except NotRecordable as refusal:
            self.refusal = str(refusal)

    def tape(self, segment: "Segment") -> Tape | None:
        """Return the programs of a segment; None where it takes autograd."""
        if self.recorded is None:
            return None
        source, target = map(self.recorded.node, (segment.source, segment.target))
        if source is None or target is None or source == target:
            return None
        return self.recorded.tape(source, target, *map(layout_of, (segment.source, segment.target)))

    def node(self, vertex: Vertex) -> int | None:
        """Return the node of a tensor, if programs were made to start from or end in it."""
        return None if self.recorded is None else self.recorded.node(vertex)

    def state_tape(self, sources: Iterable[Vertex], targets: Iterable[Vertex]) -> Tape | None:
        """Return the programs between two states of several tensors; None without a recording."""
        if self.recorded is None:
            return None
        ends = [[(self.recorded.node(v), layout_of(v)) for v in end] for end in (sources, targets)]
        known = [[(node, own) for node, own in end if node is not None] for end in ends]
        if known != ends:
            return None
        return self.recorded.state_tape(*known)


@dataclass(frozen=True)
class Segment:
    """The map from one tensor of the pass to a later one; it keeps the pass alive."""

    source: Vertex
    target: Vertex
    ranks: Ranks
    maps: Maps | None = None
    """The recording of the pass; None leaves all products to autograd."""

    @cached_property
    def tape(self) -> Tape | None:
        """The recorded linear maps; None where products take autograd."""
        return None if self.maps is None else self.maps.tape(self)

    @property
    def route(self) -> str:
        """How products are computed, in words."""
        if self.tape is not None:
            return self.tape.route
        reason = self.maps.refusal if self.maps is not None else ""
        return AUTOGRAD + (f" (no tape: {first_line(reason)})" if reason else "")

    @cached_property
    def source_layout(self) -> Layout:
        """Layout of the tensor the segment starts from."""
        return layout_of(self.source)

    @cached_property
    def target_layout(self) -> Layout:
        """Layout of the tensor the segment ends in."""
        return layout_of(self.target)

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Shape of the tensor the segment starts from."""
        return self.source_layout.shape

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of the tensor the segment ends in."""
        return self.target_layout.shape

    @property
    def source_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the tensors the segment starts from."""
        return (self.source_shape,)

    @property
    def parts(self) -> list[tuple[tuple[int, ...], Program]]:
        """Shape of each tensor the segment starts from, program from there, where recorded."""
        return [] if self.tape is None else [(self.source_shape, self.tape.forward)]

    @property
    def options(self) -> dict[str, Any]:
        """Type and device of the tensor the segment ends in."""
        _, dtype, device = self.target_layout
        return {"dtype": dtype, "device": device}

    def vjp(self, U: Tensor) -> Tensor:
        """Return Jᵀ u for every u of U, of shape (probes, *target_shape).

        Raises:
            ValueError: If several processes compute the model and U differs between them.
        """
        self.ranks.check_same_operand(U)
        if self.tape is not None:
            return self.tape.vjp(U)
        return _over_probes(self._pull, U, self.source_shape)

    def jvp(self, V: Tensor) -> Tensor:
        """Return J v for every v of V, of shape (probes, *source_shape).

        Raises:
            NotImplementedError: If several processes compute the model.
        """
        if self.ranks:
            raise NotImplementedError(
                "The model is computed by several processes, whose second backward is missing or "
                "wrong; expected a product with J of the whole model. Use `JacobianOperator`, or "
                "gather the weights into one ordinary model."
            )
        if self.tape is not None:
            return self.tape.jvp(V)
        return _over_probes(self._push, V, self.target_shape)

    def _pull(self, grads: Tensor, batched: bool, create_graph: bool = False) -> Tensor | None:
        return torch.autograd.grad(
            (GradientEdge(*self.target),),  # pyright: ignore[reportArgumentType]
            (GradientEdge(*self.source),),
            (grads,),
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
            is_grads_batched=batched,
        )[0]

    def _push(self, grads: Tensor, batched: bool) -> Tensor | None:
        pulled, seed = self._linear_pull
        if pulled is None or not pulled.requires_grad:
            return None
        return torch.autograd.grad(
            (pulled,),
            (seed,),
            (grads,),
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=batched,
        )[0]

    @cached_property
    def _linear_pull(self) -> tuple[Tensor | None, Tensor]:
        seed = torch.zeros(self.target_shape, requires_grad=True, **self.options)
        return self._pull(seed, False, create_graph=True), seed


@dataclass(frozen=True)
class StateSegment(Segment):
    """The map between two states of several tensors, flattened one after the other.

    The tensors of a state are held independent of one another, also where one was computed from
    another: autograd's own products are not of that kind, so that there is no such segment
    without a recording.
    """

    source_state: tuple[Vertex, ...] = ()
    target_state: tuple[Vertex, ...] = ()

    @cached_property
    def tape(self) -> Tape | None:
        """The recorded linear maps."""
        assert self.maps is not None
        return self.maps.state_tape(self.source_state, self.target_state)

    @property
    def source_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the tensors of the state the segment starts from."""
        return tuple(layout_of(v).shape for v in self.source_state)

    @property
    def parts(self) -> list[tuple[tuple[int, ...], Program]]:
        """The shape of each tensor of that state, and the program from there."""
        assert self.tape is not None and self.maps is not None  # noqa: PT018
        assert self.maps.recorded is not None
        whole = self.tape.forward
        starts = [self.maps.recorded.node(v) for v in self.source_state]
        programs = [Program.of(n, whole.stop, whole.edges) for n in starts if n is not None]
        return list(zip(self.source_shapes, programs, strict=True))

    @cached_property
    def source_layout(self) -> Layout:
        """Layout of the state the segment starts from."""
        assert self.tape is not None
        return self.tape.source

    @cached_property
    def target_layout(self) -> Layout:
        """Layout of the state the segment ends in."""
        assert self.tape is not None
        return self.tape.target


_FREED = (
    "A unit of `fully_shard` holds several blocks and frees the weights before they can be "
    "measured; expected one unit for each residual block. Measure by `inn.measure_scale(model, x, "
    "mesh=mesh)`; plan before `fully_shard`, and call `inn.apply_` after it."
)


def _over_probes(
    product: Callable[[Tensor, bool], Tensor | None], probes: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """Apply a product to all probes at once; one by one where an operation has no batching.

    Raises:
        NotImplementedError: If the weights were freed.
        RuntimeError: What the product itself raises.
    """
    zero = probes.new_zeros(shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # slow batching of single operations
            result = product(probes, True)
    except RuntimeError:
        try:
            single = [product(probe, False) for probe in probes]
        except RuntimeError as error:
            if "storage of size 0" in str(error):  # FSDP freed what its own hook would gather
                raise NotImplementedError(_FREED) from error
            raise
        return torch.stack([zero if row is None else row for row in single]).detach()
    return zero.expand(len(probes), *shape) if result is None else result.detach()
