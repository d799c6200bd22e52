"""One layer run alone, its graph kept: the residual additions in it and the sizes of the stream.

A layer is any stretch of the stream that is run on its own: a module, or a function of the stream.
It may hold several residual blocks. The additions are found as those of a whole model are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isometry.nn.blocks.earlier import stream_cuts
from isometry.nn.blocks.graph import build_graph
from isometry.nn.blocks.pieces import Piece, found_pieces
from isometry.nn.blocks.recording import ModuleCall, Recording, watch
from isometry.nn.blocks.segment import Maps
from isometry.nn.sandbox.checks import check_output
from isometry.nn.sandbox.flags import allow_gradients, use_eager_code, use_plain_checkpoints
from isometry.nn.sandbox.inputs import picked
from isometry.nn.sandbox.precision import widest
from isometry.nn.sandbox.ranks import Ranks
from isometry.nn.sandbox.undo import Undo, reversible
from isometry.nn.tape import Forward, Vertex, vertex_of

Names = Mapping[nn.Module, str]
"""What the modules inside a layer are called."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer's pass from s to y.

    Attributes:
        pieces: Its residual blocks, from s on.
        source: The vertex of s.
        target: The vertex of y.
        squares: {tensor of the stream: the sum of its squares here}.
        keep: What keeps the graph alive.
    """

    pieces: tuple[Piece, ...]
    source: Vertex
    target: Vertex
    squares: Mapping[Vertex, Tensor]
    keep: Forward = field(repr=False)


def run_layer(layer: Callable[[Tensor], object], s: Tensor, names: Names) -> Layer:
    """Run a layer once with gradients and find the residual additions in it.

    Args:
        layer: From the stream to the stream; of a tuple the first tensor counts.
        s: The stream where the layer begins.
        names: Of the modules inside.

    Returns:
        The pass; it holds the layer's activations until it is let go of.

    Raises:
        TypeError: If the layer returns no tensor of real numbers.
        ValueError: If what it returns does not depend on s.
    """
    leaf = s.detach().requires_grad_()
    calls: list[ModuleCall] = []
    with _followed(), watch(dict(names), calls), _Sizes(s.shape) as sizes:
        start = leaf.clone()  # a layer may work on it in place
        source = vertex_of(start)
        sizes.note(start)
        y = check_output(picked(layer(start), None))
        sizes.note(y)
    target = vertex_of(y)
    graph = None if source is None or target is None else build_graph(source, target, _none_of)
    if source is None or target is None or graph is None or not graph.order:
        name = calls[-1].name if calls else "the layer"
        raise ValueError(
            f"`{name}` returns what does not depend on its input; expected a layer of the stream. "
            "Name the layers with `blocks=`, and remove `torch.no_grad` or `detach` inside them."
        )
    forward = Forward(leaf, source, y)
    recording = Recording(graph, tuple(calls), {}, (), Maps(forward, Ranks()))
    pieces = found_pieces(recording, stream_cuts(graph)[0])
    return Layer(tuple(pieces), source, target, sizes.squares, forward)


def _none_of(flags: list[bool]) -> list[bool]:
    """Take no factor for 0: ranks hold other samples and shards, and must see the same blocks.

    Their agreement would cost a reduction a layer, and paths that go around blocks of one layer
    and are multiplied by 0 are rare: an earlier state comes into a layer as another argument.
    """
    return [False] * len(flags)


@reversible
def _followed(undo: Undo) -> None:
    """Keep one graph of all operations: gradients on, nothing compiled or computed again."""
    allow_gradients(undo)
    use_eager_code(undo)
    use_plain_checkpoints(undo)


class _Sizes(TorchFunctionMode):
    """Note the sum of squares of every result that has the shape of the stream."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self._shape = shape
        self.squares: dict[Vertex, Tensor] = {}

    def note(self, value: Tensor) -> None:
        """Note one tensor."""
        vertex = vertex_of(value)
        if vertex is not None:
            self.squares[vertex] = inner(value, value)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        kept = torch.is_grad_enabled() and isinstance(result, Tensor) and result.requires_grad
        if kept and result.shape == self._shape and result.grad_fn is not None:
            with torch.no_grad():
                self.note(result)
        return result


def inner(one: Tensor, other: Tensor) -> Tensor:
    """Return the inner product of what this rank holds of two tensors, summed in float64."""
    one, other = (local(t.detach()).reshape(-1) for t in (one, other))
    wide = widest(one.device)
    total = torch.zeros((), dtype=wide, device=one.device)
    for a, b in zip(one.split(_CHUNK), other.split(_CHUNK), strict=True):
        total += a.to(wide) @ b.to(wide)
    return total


_CHUNK = 2**22
"""Entries that are converted to float64 at once."""


def local(tensor: Tensor) -> Tensor:
    """Return the part of a distributed tensor that this rank holds; any other as it is."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()
