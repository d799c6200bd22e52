r"""Which residual blocks does a model have at an input, and what are their Jacobians?

One forward pass is recorded by autograd. A tensor that every path from the input to the output
goes through belongs to the residual stream; where y follows s on the stream and additions show

    y = a s + f(s),        J_block = a 1 + X,        X = df/ds

there is a block with skip a and branch f. The rule uses no module names, so nested residuals and
parallel branches are counted once. Products with X and with its transpose are exact.
"""

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from isometry._result import Result
from isometry.nn.blocks.additions import LeftAddition, left_additions
from isometry.nn.blocks.bounds import ends_of, said_of_states
from isometry.nn.blocks.branch import parameter_roles
from isometry.nn.blocks.names import unique
from isometry.nn.blocks.pieces import (
    Piece,
    branch_ends,
    found_pieces,
    given_pieces,
    not_recognised,
    summary,
    transitions,
)
from isometry.nn.blocks.recording import Recording, record
from isometry.nn.blocks.segment import Segment
from isometry.nn.blocks.spans import SpanningBlock, spans
from isometry.nn.sandbox._typing import BatchNorm, Blocks, Key, Model, ModelInput
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.tape import Vertex


@dataclass(frozen=True)
class Block(Result):
    """One residual block y = skip * s + f(s) of a model at one input.

    Attributes:
        name: Its place in the model: what the names of its parameters share.
        index: Place among the model's blocks, from the input on, starting at 0.
        skip: The factor of the stream, 1 in most models; 0 where the skip is a matrix.
        shape: Shape of y, batch included; of a state of several tensors, flattened one after the
            other in the order in which they were computed, the number of entries.
        parameters: {name: role} of the branch's parameters, from the branch's output backwards; a
            role is "linear", "norm", "gain", "bias", "reparametrised" or "other".
        last: For each term of the branch the names of the parameters that scale it, nearest first.
        segment: The recorded piece of the model that multiplies.
        inside: The part of the skip that the segment contains: 0 where it is the branch alone.
        matrix: Whether the skip is a map and no number: y = A s + f(s), as where several streams
            are mixed, a gate is on the skip, the width changes, or s and y are states of several
            tensors. A and f are not told apart then, products are with the Jacobian of y, and c
            is not defined.
        terms: The tensors that the terms of the branch end in.
    """

    name: str
    index: int
    skip: float
    shape: tuple[int, ...]
    parameters: Mapping[str, str] = field(hash=False)
    last: tuple[tuple[str, ...], ...]
    segment: Segment = field(repr=False, compare=False)
    inside: float = field(repr=False, compare=False)
    matrix: bool = False
    terms: tuple[Vertex, ...] = field(default=(), repr=False, compare=False)

    @property
    def ends(self) -> list[int | None]:
        """The nodes of the recording that the branch's terms end in; None where not kept."""
        maps = self.segment.maps
        return [None if maps is None else maps.node(term) for term in self.terms]

    @property
    def size(self) -> int:
        """Number of entries of y: the N of the traces, batch included."""
        return prod(self.shape)

    def vjp(self, U: Tensor) -> Tensor:
        """Return Xᵀ u for every u of ``U``, which has the shape ``(probes, *shape)``."""
        pulled = self.segment.vjp(U)
        if self.matrix:
            return pulled
        pulled = pulled.reshape(U.shape)
        return pulled - self.inside * U if self.inside else pulled

    def jvp(self, V: Tensor) -> Tensor:
        """Return X v for every v of ``V``, which has the shape ``(probes, *shape)``."""
        pushed = self.segment.jvp(V.reshape(len(V), *self.segment.source_shape))
        return pushed - self.inside * V if self.inside else pushed

    def __repr__(self) -> str:
        skip = "matrix" if self.matrix else f"{self.skip:g}"
        return f"Block({self.name!r}, skip={skip}, shape={self.shape})"


@dataclass(frozen=True)
class Stage:
    """A run of blocks with nothing between them that acts on the stream: what one law covers.

    Attributes:
        blocks: From the input on.
        trunk: From the first block's input to the last block's output.
    """

    blocks: tuple[Block, ...]
    trunk: Segment = field(repr=False)


@dataclass(frozen=True)
class Stream:
    """The residual stream of a model at one input: its stages, and what lies between them.

    Attributes:
        stages: From the input on; a block whose skip is a matrix is in none.
        trunk: From the first block's input to the last block's output; from where an earlier
            state begins that is added to the stream again.
        remark: What the law of the blocks leaves out, in one sentence; empty where it is all.
        left: Residual additions that are in no block, and why.
        chain: The trunk cut before every block, at states of several tensors where earlier ones go
            around; what acts between two belongs to the first. It is empty where the latter do
            and the pass is not recorded.
        every: All blocks, those with a matrix for a skip included, from the input on.
        spans: Blocks that contain residual additions of their own.
    """

    stages: tuple[Stage, ...]
    trunk: Segment = field(repr=False)
    remark: str
    left: tuple[LeftAddition, ...] = ()
    chain: tuple[Segment, ...] = field(default=(), repr=False)
    every: tuple[Block, ...] = field(default=(), repr=False)
    spans: tuple[SpanningBlock, ...] = ()

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks whose skip is a number, from the input on."""
        return tuple(block for stage in self.stages for block in stage.blocks)


def residual_blocks(
    model: Model,
    x: ModelInput = None,
    *,
    inputs: ModelInput = None,
    wrt: Key = None,
    output: Key = None,
    blocks: Blocks = None,
    batch_norm: BatchNorm = None,
) -> list[Block]:
    """Return the residual blocks of a model at one input, from the input on.

    Args:
        model: A module or function that maps one floating-point tensor to one; the names are
            those inside the module, or inside the outermost module that a function calls.
        x: The input, a batch of any size; the blocks' sizes and traces include the batch.
        inputs: As for :class:`isometry.nn.JacobianOperator`.
        wrt: As for :class:`isometry.nn.JacobianOperator`.
        output: As for :class:`isometry.nn.JacobianOperator`.
        blocks: Modules, or their names, to use instead of what is found: a module that returns
            a multiple of its input plus a branch, or a module inside a branch. Where no addition
            is seen, a module whose output is the branch, which one product then verifies.
        batch_norm: Which statistics batch normalisation uses, "eval" (running) or "batch"
            (those of `x`, frozen), as for :class:`isometry.nn.JacobianOperator`.

    Returns:
        The blocks; each holds on to the recorded pass, so memory is that of one forward pass
        with gradients until all of them are gone.

    Raises:
        TypeError: If `x` or the output is not one floating-point tensor.
        ValueError: If no block is recognised, or one named in `blocks` cannot be used; the
            message says what stands in the way.

    Notes:
        A residual sum that only some paths from input to output go through (inside a U-Net's
        skip or a branch) is part of something larger and no block. Where blocks follow one
        another and no tensor between them is on every path (streams in a list, sums over the
        outputs of all earlier blocks, attention over them, dense concatenation), the stream is cut
        at states: s is all tensors that are computed before a block and read after it, as
        independent ones, and y those that are read later, the first ones that are still read
        among them. The product of the blocks' Jacobians is the trunk's. A state is read before the
        next block's own mixture; streams that keep their layout from block to block end so, and
        what grows ends in the one tensor that is read off it.
        A Hugging Face model is passed as
        ``lambda e: model(inputs_embeds=e).last_hidden_state``, at the embeddings of its tokens.

    Examples:
        >>> import torch
        >>> residual_blocks(lambda x: 0.9 * x + torch.tanh(x), torch.ones(1, 3))
        [Block('block 0', skip=0.9, shape=(1, 3))]
    """
    specimen = Specimen.of(model, x, inputs=inputs, wrt=wrt, output=output, batch_norm=batch_norm)
    stream = residual_stream(specimen, specimen.point, blocks=blocks, batch_norm=batch_norm)
    return [replace(block, index=place) for place, block in enumerate(stream.every)]


def residual_stream(
    model: Model,
    x: ModelInput,
    *,
    blocks: Blocks = None,
    batch_norm: BatchNorm = None,
    terms: bool = False,
) -> Stream:
    """Return the residual stream: the blocks, what acts between them, and the trunk.

    Args:
        model: As for :func:`residual_blocks`.
        x: As for :func:`residual_blocks`.
        blocks: As for :func:`residual_blocks`.
        batch_norm: As for :func:`residual_blocks`.
        terms: Whether branches are to be told from skips that are matrices.

    Returns:
        The stream, with products of the trunk's Jacobian.

    Raises:
        TypeError: If `x` or the output is not one floating-point tensor.
        ValueError: If no block is recognised, or one named in `blocks` cannot be used.
    """
    if not callable(model):
        raise TypeError(f"`model` is a {type(model).__name__}; expected a module or a function.")
    return stream_of(record(model, x, batch_norm), blocks, terms=terms)


def stream_of(recording: Recording, blocks: Blocks, *, terms: bool = False) -> Stream:
    """Return the residual stream of a recorded pass.

    Raises:
        TypeError: If `blocks` is no list of modules and names.
        ValueError: If no block is recognised, or one named in `blocks` cannot be used.
    """
    _check_blocks(blocks)
    more = branch_ends(recording) if terms else ()
    cuts = recording.settle(named=blocks is not None, more=more)
    pieces = (
        found_pieces(recording, cuts) if blocks is None else given_pieces(recording, cuts, blocks)
    )
    if not pieces and blocks is None:  # a gate at 0 beside a skip that is multiplied, too
        order = recording.graph.order
        cuts = recording.graph.cuts(order[0], order[-1])
        pieces = found_pieces(recording, cuts)
    if not pieces:
        left = [addition.name for addition in left_additions(recording, cuts, ())]
        raise ValueError(not_recognised(recording, cuts, left))
    return _stream(recording, cuts, pieces)


def _stream(recording: Recording, cuts: list[Vertex], pieces: list[Piece]) -> Stream:
    names = unique(piece.name for piece in pieces)
    scalar = [piece for piece in pieces if not piece.matrix]
    places = {piece: place for place, piece in enumerate(scalar)}
    every = [
        _block(recording, piece, places.get(piece, place), name)
        for place, (piece, name) in enumerate(zip(pieces, names, strict=True))
    ]
    made = [block for block in every if not block.matrix]
    between = [
        transitions(recording, first.end, second.start) for first, second in pairwise(scalar)
    ]
    starts = [0, *(i + 1 for i, acting in enumerate(between) if acting), len(scalar)]
    entered = recording.stream_cuts[1]
    ends = ends_of(recording, pieces)
    cut = [recording.state_segment(*pair) for pair in pairwise(ends)]
    return Stream(
        tuple(_stage(recording, made, scalar, i, j) for i, j in pairwise(starts) if made),
        recording.state_segment(ends[0], ends[-1]),
        _remark([item for acting in between for item in acting], len(starts) - 1, every, entered)
        + said_of_states(pieces),
        left_additions(recording, cuts, scalar),
        () if entered and recording.maps.recorded is None else tuple(cut),
        tuple(every),
        spans(recording, pieces, names),
    )


def _check_blocks(blocks: object) -> None:
    """Refuse what is no list of modules and names.

    Raises:
        TypeError: If it is something else.
        ValueError: If the list is empty.
    """
    if blocks is None:
        return
    if isinstance(blocks, (str, nn.Module)) or not isinstance(blocks, Iterable):
        raise TypeError(
            f"`blocks` is a {type(blocks).__name__}; expected a list of modules or their names. "
            "Put one block into a list as well: `blocks=['layers.0']`."
        )
    if not isinstance(blocks, Sized) or not len(blocks):
        raise ValueError("`blocks` is empty; expected names of modules, or None to find them.")


def _block(recording: Recording, piece: Piece, index: int, name: str) -> Block:
    graph, branches = recording.graph, piece.branches(recording.graph)
    inside = dict.fromkeys(v for branch in branches for v in branch.vertices(graph))
    segment = recording.state_segment(*(piece.states or ((piece.source,), (piece.target,))))
    return Block(
        name=name,
        index=index,
        skip=0.0 if piece.matrix else piece.part.skip or 1.0,
        shape=segment.target_shape,
        parameters=parameter_roles(recording, inside),
        last=tuple(names for branch in branches for names in branch.last_parameters(recording)),
        segment=segment,
        inside=piece.contained_skip,
        matrix=piece.matrix,
        terms=tuple(v for branch in branches for v in branch.part.heads),
    )


def _stage(
    recording: Recording, blocks: list[Block], pieces: list[Piece], first: int, stop: int
) -> Stage:
    trunk = recording.segment(pieces[first].start, pieces[stop - 1].end)
    return Stage(tuple(blocks[first:stop]), trunk)


def _remark(
    acting: list[tuple[str, str]], stages: int, every: list[Block], entered: list[Vertex]
) -> str:
    said = []
    if acting:
        said.append(
            f"Between the blocks the stream goes through {summary(acting)}: the law covers the "
            f"{stages} stages in between, each alone, and not the trunk."
        )
    matrices = [block.name for block in every if block.matrix]
    if matrices:
        said.append(
            f"The skip of {len(matrices)} of {len(every)} blocks (first `{matrices[0]}`) is a "
            "matrix and no number, so that their c is not defined: compare the trunk with its "
            "rotated twin, `inn.twin(model, x)`."
        )
    if entered:
        said.append(
            f"Earlier states of the stream are added to it again in {len(entered)} sums: the law "
            "covers the blocks, each at the tensor it meets, and not the trunk."
        )
    return " ".join(said)
