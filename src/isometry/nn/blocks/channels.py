"""Which axis of the residual stream holds the channels: the one that the blocks' own maps act on.

Every entry of the stream carries its place along each axis through the recorded maps of a block. An
axis along which a matrix or kernel of the model sums is mixed by the block; a product of two values
that both depend on the input, as attention's, is no such map. Where the blocks mix several axes
(tokens and channels in a Mixer), the channels are the one that is normalised, or scaled entry by
entry, or that is left without those that the skip itself mixes (streams). Nothing is guessed from
the number of axes.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from isometry.nn.blocks.segment import Segment
from isometry.nn.tape.maps import (
    Cast,
    Diagonal,
    Embed,
    Expand,
    Identity,
    LinearMap,
    Move,
    Permute,
    Reshape,
    Scale,
    Selection,
    Slice,
    SumTo,
)
from isometry.nn.tape.maps_dense import (
    Convolution,
    CumulativeSum,
    Local,
    LogSoftmaxSlope,
    RightProduct,
    SoftmaxSlope,
    Standardise,
)
from isometry.nn.tape.program import Edge, Program

_MOVES = (Reshape, Permute, Expand, Slice, Embed, Selection)
_STAYS = (Identity, Scale, Diagonal, Cast, Move)
_STAYS += (Standardise, CumulativeSum, SoftmaxSlope, LogSoftmaxSlope)


@dataclass
class Uses:
    """What a block does to the axes of the stream, as counts per axis.

    Attributes:
        mixed: Of sums over the axis with a matrix or kernel of the model.
        normalised: Of normalisations over this axis alone.
        scaled: Of products with a tensor that differs along this axis alone.
        streams: Of sums over the axis on a way past the branch, along constant maps alone.
    """

    mixed: Counter[int] = field(default_factory=Counter)
    normalised: Counter[int] = field(default_factory=Counter)
    scaled: Counter[int] = field(default_factory=Counter)
    streams: Counter[int] = field(default_factory=Counter)


def channel_axes(segments: Sequence[Segment]) -> list[tuple[int | None, ...]]:
    """Return the axis of the channels of every tensor that each segment starts from.

    Tensors of one shape have one answer, from all the blocks that start from one.

    Args:
        segments: Stretches of a recorded pass.

    Returns:
        For each segment the axes, one for each tensor of the state it starts from; None where the
        recording does not tell, or there is none.
    """
    found: dict[tuple[int, ...], Uses] = defaultdict(Uses)
    for segment in segments:
        for shape, program in segment.parts:
            _follow(program, shape, found[shape])
    return [tuple(_chosen(s, found[s]) for s in segment.source_shapes) for segment in segments]


def _chosen(shape: tuple[int, ...], uses: Uses) -> int | None:
    """Return the axis that is mixed; of several the normalised, the scaled, or no stream's one."""
    long = [axis for axis, size in enumerate(shape) if size > 1]
    if len(long) == 1:
        return long[0]
    mixed = [axis for axis in long if uses.mixed[axis]]
    for among in (uses.mixed, uses.normalised, uses.scaled, Counter(mixed) - uses.streams):
        left = [axis for axis in mixed if among[axis]]
        if len(left) == 1:
            return left[0]
    return None


def _follow(program: Program, shape: tuple[int, ...], uses: Uses) -> None:
    """Carry the places of the stream's entries, counted from 1, along a block's maps.

    A value holds one array for each axis of the stream; 0 stands for entries that are made of
    several places, or of none.
    """
    ranges = (torch.arange(1.0, size + 1) for size in shape)
    start = torch.stack(torch.meshgrid(*ranges, indexing="ij"))
    values = {program.start: start}
    entering: dict[int, list[Edge]] = defaultdict(list)
    leaving: dict[int, list[Edge]] = defaultdict(list)
    for edge in program.edges:
        entering[edge.target].append(edge)
        leaving[edge.source].append(edge)
    past = _past_the_branch(program)
    for edge in program.edges:
        if edge.source not in values:
            continue
        fixed = not _is_bilinear(edge, entering, leaving)
        image = _image(edge.map, values[edge.source], uses if fixed else Uses())
        if fixed and isinstance(edge.map, RightProduct) and edge in past:
            uses.streams.update(_axes_along(values[edge.source], [values[edge.source].ndim - 2]))
        if image is not None:
            known = values.get(edge.target)
            values[edge.target] = image if known is None else _joined(known, image)


def _past_the_branch(program: Program) -> list[Edge]:
    """Return the edges on ways from start to stop that nothing normalises, scales or activates."""
    constant = (RightProduct, SumTo, Identity, Scale, *_MOVES)
    edges = [edge for edge in program.edges if isinstance(edge.map, constant)]
    return list(Program.of(program.start, program.stop, edges).edges)


def _is_bilinear(
    edge: Edge, entering: dict[int, list[Edge]], leaving: dict[int, list[Edge]]
) -> bool:
    """Return whether the other factor of a product depends on the input, too.

    Then its result is a sum of two products, of which rearrangements may be read in between.
    """
    while len(entering[edge.target]) == 1:
        readers = leaving[edge.target]
        if len(readers) != 1 or not isinstance(readers[0].map, (Permute, Scale)):
            return False
        edge = readers[0]
    return all(_ends_product(term, entering) for term in entering[edge.target])


def _ends_product(edge: Edge, entering: dict[int, list[Edge]]) -> bool:
    while isinstance(edge.map, (Permute, Scale)) and len(entering[edge.source]) == 1:
        edge = entering[edge.source][0]
    return isinstance(edge.map, RightProduct)


def _joined(one: Tensor, other: Tensor) -> Tensor:
    """Return the places of a sum: those of the term that has some, or of both where they agree."""
    if one.shape != other.shape:
        return one
    agree = (one == other) | (other == 0)
    return torch.where(one == 0, other, torch.where(agree, one, torch.zeros_like(one)))


def _image(linear: LinearMap, places: Tensor, uses: Uses) -> Tensor | None:
    """Return the places after a map, and note what it does; None where it is not followed."""
    if isinstance(linear, RightProduct):
        last = [places.ndim - 2]
        uses.mixed.update(_axes_along(places, last))
        return _summed(places, last).expand(*places.shape[:-1], linear.matrix.shape[-1])
    if isinstance(linear, Convolution):
        uses.mixed.update(_axes_along(places, [1]))
        return None
    if isinstance(linear, SumTo):
        padded = (1,) * (len(linear.source) - len(linear.target)) + tuple(linear.target)
        dims = [d for d, (n, m) in enumerate(zip(linear.source, padded, strict=True)) if n != m]
        return _summed(places, dims).reshape(len(places), *linear.target)
    if isinstance(linear, Standardise):
        _count_alone(uses.normalised, places, [dim % (places.ndim - 1) for dim in linear.dims])
    if isinstance(linear, Diagonal):
        first = places.ndim - 1 - linear.d.ndim
        dims = [first + dim for dim, size in enumerate(linear.d.shape) if size > 1]
        if len(dims) == 1:
            _count_alone(uses.scaled, places, dims)
    if isinstance(linear, Local):
        same = linear.graph.leaf.shape == linear.graph.output.shape
        return places if same else None
    if isinstance(linear, _STAYS):
        return places
    return linear.apply(places) if isinstance(linear, _MOVES) else None


def _count_alone(count: Counter[int], places: Tensor, dims: Sequence[int]) -> None:
    axes = _axes_along(places, dims)
    if len(axes) == 1:
        count.update(axes)


def _axes_along(places: Tensor, dims: Sequence[int]) -> list[int]:
    """Return the axes of the stream whose place differs along some dimensions of a value."""
    low, high = _extent(places, dims)
    return [axis for axis in range(len(places)) if bool((high[axis] > low[axis]).any())]


def _summed(places: Tensor, dims: Sequence[int]) -> Tensor:
    """Return the places that are the same along some dimensions, of length 1 from here on."""
    low, high = _extent(places, dims)
    return torch.where(high > low, torch.zeros_like(high), high)


def _extent(places: Tensor, dims: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest place along some dimensions, the unknown left out."""
    if not dims:
        return places, places
    along = [dim + 1 for dim in dims]
    high = places.amax(along, keepdim=True)
    low = torch.where(places == 0, high, places).amin(along, keepdim=True)
    return low, high
