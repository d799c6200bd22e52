r"""Which residual blocks does a model have at an input, and what are their Jacobians?

One forward pass is recorded by autograd. A tensor that every path from the input to the output
goes through belongs to the residual stream; where y follows s on the stream and additions show

    y = a s + f(s),        J_block = a 1 + X,        X = df/ds

there is a block with skip a and branch f. The rule uses no module names, so nested residuals and
parallel branches are counted once. Products with X and with its transpose are exact.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from isometry._checks import suggest
from isometry._result import Result
from isometry.nn._branch import branch_vertices, last_parameters, parameter_roles
from isometry.nn._graph import (
    ISOMETRIES,
    LinearPart,
    Vertex,
    linear_part,
    operation,
    shape_of,
)
from isometry.nn._names import join_names, name_block, unique
from isometry.nn._record import Call, Recording, record
from isometry.nn._segment import Segment


@dataclass(frozen=True)
class Block(Result):
    """One residual block y = skip * s + f(s) of a model at one input."""

    name: str
    index: int
    """Place among the model's blocks, from the input on, starting at 0."""
    skip: float
    shape: tuple[int, ...]
    """Shape of y, batch included."""
    parameters: Mapping[str, str]
    """{name: role} of the branch's parameters, from the branch's output backwards; a role is
    "linear", "norm", "gain", "bias", "reparametrised" or "other"."""
    last: tuple[tuple[str, ...], ...]
    """For each term of the branch the names of the parameters that scale it, nearest first."""
    segment: Segment = field(repr=False, compare=False)
    inside: float = field(repr=False, compare=False)
    """The part of the skip that the segment contains: 0 where it is the branch alone."""

    @property
    def size(self) -> int:
        """Number of entries of y: the N of the traces, batch included."""
        return prod(self.shape)

    def vjp(self, U: Tensor) -> Tensor:
        """Return Xᵀ u for every u of U, which has the shape (probes, *shape)."""
        pulled = self.segment.vjp(U).reshape(U.shape)
        return pulled - self.inside * U if self.inside else pulled

    def jvp(self, V: Tensor) -> Tensor:
        """Return X v for every v of V, which has the shape (probes, *shape)."""
        pushed = self.segment.jvp(V.reshape(len(V), *self.segment.source_shape))
        return pushed - self.inside * V if self.inside else pushed

    def __repr__(self) -> str:
        return f"Block({self.name!r}, skip={self.skip:g}, shape={self.shape})"


@dataclass(frozen=True)
class Stream:
    """The residual stream of a model at one input: blocks, and what else acts on the stream."""

    blocks: tuple[Block, ...]
    transitions: tuple[str, ...]
    """What acts on the stream between the first and the last block, in words."""
    trunk: Segment = field(repr=False)
    """From the first block's input to the last block's output."""

    @property
    def remark(self) -> str:
        """What the law of the blocks leaves out, in one sentence; empty where it is all."""
        if not self.transitions:
            return ""
        kinds = list(dict.fromkeys(self.transitions))
        more = f" and {len(kinds) - 3} more" if len(kinds) > 3 else ""
        return (
            f"Between the blocks the stream goes through {', '.join(kinds[:3])}{more}: the law "
            "describes the runs of blocks in between, not the whole trunk."
        )


def residual_blocks(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    blocks: Sequence[str | nn.Module] | None = None,
    batch_norm: str | None = None,
) -> list[Block]:
    """Return the residual blocks of a model at one input, from the input on.

    Args:
        model: A module or function that maps one floating-point tensor to one; the names are
            those inside the module, or inside the outermost module that a function calls.
        x: The input, a batch of any size; the blocks' sizes and traces include the batch.
        blocks: Modules, or their names, to use instead of what is found. A module that returns
            a multiple of its input plus a branch is taken as the whole block, any other module
            as the branch alone.
        batch_norm: Which statistics batch normalisation uses, "eval" (running) or "batch"
            (those of `x`, frozen), as for :class:`isometry.nn.jacobian.JacobianOperator`.

    Returns:
        The blocks; each holds on to the recorded pass, so memory is that of one forward pass
        with gradients until all of them are gone.

    Raises:
        TypeError: If `x`, the output or an entry of `blocks` is of the wrong type.
        ValueError: If no block is recognised, or one named in `blocks` cannot be used; the
            message says what stands in the way.

    Notes:
        A residual sum that only some paths from input to output go through (inside a U-Net's
        skip, a branch or a dense concatenation) is part of something larger and no block.
    """
    return list(residual_stream(model, x, blocks=blocks, batch_norm=batch_norm).blocks)


def residual_stream(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    blocks: Sequence[str | nn.Module] | None = None,
    batch_norm: str | None = None,
) -> Stream:
    """Return the residual stream: the blocks, what acts between them, and the trunk.

    Args:
        model: As for :func:`residual_blocks`.
        x: As for :func:`residual_blocks`.
        blocks: As for :func:`residual_blocks`.
        batch_norm: As for :func:`residual_blocks`.

    Returns:
        The stream, with products of the trunk's Jacobian.

    Raises:
        TypeError: If `x`, the output or an entry of `blocks` is of the wrong type.
        ValueError: If no block is recognised, or one named in `blocks` cannot be used.
    """
    recording = record(model, x, batch_norm)
    cuts = recording.graph.cuts()
    pieces = _found(recording, cuts) if blocks is None else _given(recording, blocks)
    if not pieces:
        raise ValueError(_not_recognised(recording, cuts))
    names = unique(piece.name for piece in pieces)
    made = tuple(
        _block(recording, p, i, n) for i, (p, n) in enumerate(zip(pieces, names, strict=True))
    )
    place = recording.graph.position
    first = max((c for c in cuts if place[c] <= place[pieces[0].source]), key=place.__getitem__)
    final = min((c for c in cuts if place[c] >= place[pieces[-1].target]), key=place.__getitem__)
    covered = {piece.target for piece in pieces}
    return Stream(made, _transitions(recording, cuts, covered, first, final), Segment(first, final))


@dataclass(frozen=True)
class _Piece:
    source: Vertex
    target: Vertex
    part: LinearPart
    name: str


def _found(recording: Recording, cuts: list[Vertex]) -> list[_Piece]:
    """Return the blocks that the additions of the graph show."""
    graph, pieces = recording.graph, []
    any_parameter = any(True for v in graph.order for _ in graph.leaves(v))
    for source, target in pairwise(cuts):
        part = linear_part(graph, source, target)
        if not part.skip or not part.heads:
            continue
        inside = branch_vertices(graph, part, source, target)
        if any_parameter and not any(True for v in inside for _ in graph.leaves(v)):
            continue
        name = name_block(recording, source, target, set(inside))
        pieces.append(_Piece(source, target, part, name))
    return pieces


def _given(recording: Recording, blocks: Sequence[str | nn.Module]) -> list[_Piece]:
    """Return the blocks that the caller names, in the order in which they were computed."""
    pieces = [_piece(recording, call) for block in blocks for call in _calls(recording, block)]
    return sorted(pieces, key=lambda piece: recording.graph.position[piece.target])


def _calls(recording: Recording, block: str | nn.Module) -> list[Call]:
    if not isinstance(block, (str, nn.Module)):
        raise TypeError(
            f"`blocks` contains {block!r}; expected modules of the model or their names."
        )
    calls = [c for c in recording.calls if block in (c.name, c.module)]
    if not calls:
        shown = block if isinstance(block, str) else type(block).__name__
        near = suggest(shown, [c.name for c in recording.calls])
        raise ValueError(
            f"`blocks` contains {shown!r}, which the model does not call at this input; "
            f"expected modules of the model or their names.{near}"
        )
    return calls


def _piece(recording: Recording, call: Call) -> _Piece:
    """Return a named module as a block: the whole of it, or its branch alone.

    Raises:
        ValueError: If no input of the module has the size of its output.
    """
    graph = recording.graph
    targets = [v for v in call.outputs if v in graph.position]
    for target in targets[:1]:
        sources = [v for v in call.inputs if v in graph.position and v != target]
        parts = [(v, linear_part(graph, v, target)) for v in sources]
        same = [(v, p) for v, p in parts if prod(shape_of(v)) == prod(shape_of(target))]
        for source, part in [(v, p) for v, p in same if p.skip] + same:
            return _Piece(source, target, part, call.name)
    raise ValueError(
        f"`blocks` contains {call.name!r}, whose output is not computed from an input of the same "
        "size; expected a module that returns a branch or its input plus a branch."
    )


def _block(recording: Recording, piece: _Piece, index: int, name: str) -> Block:
    graph = recording.graph
    inside = branch_vertices(graph, piece.part, piece.source, piece.target)
    return Block(
        name=name,
        index=index,
        skip=piece.part.skip or 1.0,
        shape=shape_of(piece.target),
        parameters=parameter_roles(recording, inside),
        last=last_parameters(recording, piece.part, set(inside), piece.target),
        segment=Segment(piece.source, piece.target),
        inside=piece.part.skip or 0.0,
    )


def _transitions(
    recording: Recording, cuts: list[Vertex], covered: set[Vertex], first: Vertex, final: Vertex
) -> tuple[str, ...]:
    """Describe the pieces between the first and the last block that are no block."""
    graph, found = recording.graph, []
    between = cuts[cuts.index(first) : cuts.index(final) + 1]
    for source, target in pairwise(between):
        if target in covered or operation(target) in ISOMETRIES:
            continue
        part = linear_part(graph, source, target)
        if part.skip is None or part.heads:
            found.append(_describe(recording, source, target))
    return tuple(found)


def _describe(recording: Recording, source: Vertex, target: Vertex) -> str:
    """Name the operation that ends a piece and the module it belongs to."""
    inside = set(recording.graph.between(source, target))
    calls = [c for c in recording.calls if c.name and any(v in inside for v in c.outputs)]
    where = f" at `{join_names(calls)}`" if calls else ""
    joined = f" of {len(inside)} operations" if len(inside) > 1 else ""
    return f"{operation(target)}{joined}{where}"


def _not_recognised(recording: Recording, cuts: list[Vertex]) -> str:
    graph = recording.graph
    forks = [_describe(recording, s, t) for s, t in pairwise(cuts) if len(graph.between(s, t)) > 1]
    seen = (
        f"the paths join again only in {', '.join(forks[:3])}"
        if forks
        else f"the {len(cuts) - 1} operations form a plain chain"
    )
    return (
        f"`model` has no residual block that is recognised: {seen}; expected tensors of the form "
        "a * input + branch that every path goes through. If it has residual blocks, name them "
        "with `blocks=`; otherwise measure its spectrum without a prediction."
    )
