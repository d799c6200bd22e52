"""Blocks that contain residual additions of their own: what is measured as one is several.

Paths that go around an addition (a state that is added again further on, a U-Net's skip) leave no
place to cut the stream, so the stretch between two cuts is one block; a branch may be residual as
well. The block's traces are those of the whole stretch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from isometry._result import Result
from isometry.nn.blocks.additions import around, residual_kind
from isometry.nn.blocks.graph import Vertex
from isometry.nn.blocks.pieces import Piece
from isometry.nn.blocks.recording import Recording


@dataclass(frozen=True)
class SpanningBlock(Result):
    """A block with residual additions inside.

    Attributes:
        block: Name of the block.
        additions: The innermost module around each addition inside, from the input on.
    """

    block: str
    additions: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(f"`{name}`" if name else "outside any module" for name in self._few())
        more = len(self.additions) - len(self._few())
        count = len(self.additions)
        return (
            f"block `{self.block}` spans {count} more residual addition{'s' if count > 1 else ''} "
            f"({shown}{f' and {more} more' if more else ''}): they are measured as one block"
        )

    def _few(self) -> tuple[str, ...]:
        return self.additions[:4]


def spans(
    recording: Recording, pieces: Sequence[Piece], names: Sequence[str]
) -> tuple[SpanningBlock, ...]:
    """Return the blocks that contain residual additions with weights, besides their own."""
    found = []
    for piece, name in zip(pieces, names, strict=True):
        if piece.states:
            continue
        inner = [v for v in _between(recording, piece) if _is_residual(recording, piece, v)]
        if inner:
            found.append(SpanningBlock(name, tuple(around(recording, v)[0] for v in inner)))
    return tuple(found)


def _between(recording: Recording, piece: Piece) -> list[Vertex]:
    """Return the tensors inside that may be a sum of their own.

    A partial sum of the block's terms, as in x + f(x) + g(x), is one where a term reads it.
    """
    graph, own = recording.graph, {piece.target, *piece.part.sums}
    inside = graph.between(piece.source, piece.target)
    read = {source for v in inside if v not in own for _, source in graph.inputs(v)}
    return [v for v in inside if v != piece.target and (v not in own or v in read)]


def _is_residual(recording: Recording, piece: Piece, vertex: Vertex) -> bool:
    """Return whether a sum adds something with a weight to what that was computed from."""
    graph = recording.graph
    inside = {piece.source, *graph.between(piece.source, vertex)}
    if residual_kind(recording, vertex, inside) is None:
        return False
    first, second = (graph.ancestors([side], inside) for _, side in graph.inputs(vertex))
    return any(True for v in first ^ second for _ in graph.leaves(v))
