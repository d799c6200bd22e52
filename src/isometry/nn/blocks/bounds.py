"""The states before and behind the blocks of a stream: what its trunk is cut at."""

from isometry.nn.blocks.graph import Graph, Vertex
from isometry.nn.blocks.pieces import Piece
from isometry.nn.blocks.recording import Recording
from isometry.nn.blocks.states import State


def said_of_states(pieces: list[Piece]) -> str:
    """Say that the stream is several tensors between some blocks; nothing where it is one."""
    most = max((len(state) for p in pieces for state in p.states or ()), default=0)
    if not most:
        return ""
    return (
        f" Between blocks the stream is a state of up to {most} tensors that are read later, and "
        "a block's Jacobian is from one such state to the next."
    )


def ends_of(recording: Recording, pieces: list[Piece]) -> list[State]:
    """Return the states before every block and behind the last one.

    Where earlier states of the stream are added to it again, they are among its tensors, and the
    first and the last state are tensors that no path goes past.
    """
    starts = [piece.states[0] if piece.states else (piece.start,) for piece in pieces]
    end = pieces[-1].states[1] if pieces[-1].states else (pieces[-1].end,)
    if not recording.stream_cuts[1]:
        return [*starts, end]
    first, last = _around(recording.graph, [*(piece.start for piece in pieces), pieces[-1].end])
    if len(recording.entered_states) == len(pieces):
        return [(first,), *recording.entered_states[1:], (last,)]
    opened = [recording.openings.get(s[0], s) if len(s) == 1 else s for s in starts[1:]]
    return [(first,), *opened, (last,)]


def _around(graph: Graph, ends: list[Vertex]) -> tuple[Vertex, Vertex]:
    """Return the tensors around all blocks that no path goes past."""
    place = graph.position
    cuts = graph.inner_cuts(graph.order, graph.vanishing)
    first = [v for v in cuts if place[v] <= place[ends[0]]]
    last = [v for v in cuts if place[v] >= place[ends[-1]]]
    return first[-1], last[0]
