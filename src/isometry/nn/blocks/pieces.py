"""Which stretches of a recorded pass are residual blocks, and what lies between them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

import torch
from torch import nn

from isometry._checks import suggest
from isometry.nn.blocks.branch import Branch
from isometry.nn.blocks.earlier import is_multiple
from isometry.nn.blocks.graph import (
    ISOMETRIES,
    Graph,
    LinearPart,
    Vertex,
    linear_part,
    operation,
)
from isometry.nn.blocks.names import join_names, name_block, name_branches
from isometry.nn.blocks.recording import ModuleCall, Recording
from isometry.nn.blocks.segment import Segment
from isometry.nn.blocks.skips import map_skip
from isometry.nn.blocks.states import State, readout
from isometry.nn.sandbox.precision import wide
from isometry.nn.tape import first_line

_WORDS = {
    "Addmm": "linear map",
    "Cat": "torch.cat",
    "Convolution": "convolution",
    "NativeBatchNorm": "batch norm",
    "NativeGroupNorm": "group norm",
    "NativeLayerNorm": "layer norm",
    "Relu": "ReLU",
}

_NEAR = 3
"""Tensors of the stream after a branch among which its sum with the stream is looked for."""


@dataclass(frozen=True)
class Piece:
    """A block: the branch, with or without its skip, and the stretch of the stream it takes.

    From source to target the pass contains the branch; its skip is among the paths between
    them where these are start and end as well.
    """

    source: Vertex
    target: Vertex
    part: LinearPart
    name: str
    start: Vertex
    end: Vertex
    matrix: bool = False
    """Whether the skip is a map that is no number: the part is then the branch alone."""
    states: tuple[State, State] | None = None
    """The states before and after it, where they are several tensors."""
    several: tuple[Branch, ...] = ()
    """Its branches there."""

    def branches(self, graph: Graph) -> tuple[Branch, ...]:
        """Return the branches, one where the block is between two tensors of the stream."""
        return self.several or (Branch.between(graph, self.part, self.source, self.target),)

    @property
    def contained_skip(self) -> float:
        """The part of the skip that lies between source and target."""
        whole = (self.source, self.target) == (self.start, self.end)
        return (self.part.skip or 0.0) if whole else 0.0


def found_pieces(recording: Recording, cuts: list[Vertex]) -> list[Piece]:
    """Return the blocks that the additions of the graph show, scalar factors behind included.

    Where several follow one another between two cuts, they are blocks between states.
    """
    graph, pieces = recording.graph, []
    any_parameter = any(True for v in graph.order[1:] for _ in graph.leaves(v))
    open_end, reached = False, graph.order[0]
    for source, target in pairwise(cuts):
        if graph.position[source] < graph.position[reached]:
            continue
        part = linear_part(graph, source, target)
        if part.skip and not part.heads and open_end:
            last = pieces[-1]
            whole = linear_part(graph, last.source, target)
            pieces[-1] = _found_piece(recording, last.source, target, whole)
            continue
        several = _between_states(recording, cuts, source, target)
        if several and not (part.skip and _goes_around(several, source)):
            pieces += several
            open_end, reached = False, several[-1].end
            continue
        mapped = None if part.skip else map_skip(graph, source, target)
        if mapped is not None:
            part = mapped.branch
        inside = Branch.between(graph, part, source, target).vertices(graph)
        parametric = any(True for v in inside for _ in graph.leaves(v)) or not any_parameter
        parametric &= not all(is_multiple(graph, v) or v in part.sums for v in inside)
        open_end = bool(part.skip and part.heads and parametric)
        if open_end or (mapped is not None and parametric):
            pieces.append(_found_piece(recording, source, target, part))
    return pieces


def branch_ends(recording: Recording) -> list[Vertex]:
    """Return what the branches end in that blocks may turn out to have."""
    graph = recording.graph
    several = [block for blocks in recording.states.values() for block in blocks]
    branches = [Branch.of_exit(graph, *pair) for block in several for pair in block.branches]
    found = [v for branch in branches for v in branch.part.heads]
    for source, target in pairwise(recording.stream_cuts[0]):
        part = linear_part(graph, source, target)
        mapped = None if part.skip else map_skip(graph, source, target)
        found += part.heads if mapped is None else mapped.branch.heads
    return found


def _goes_around(pieces: Sequence[Piece], source: Vertex) -> bool:
    """Return whether the tensor that a stretch starts from goes around its first block as it is."""
    return any(source in piece.states[0] for piece in pieces[1:] if piece.states)


def _between_states(
    recording: Recording, cuts: list[Vertex], source: Vertex, target: Vertex
) -> list[Piece]:
    """Return the blocks between states of several tensors; none without a recording."""
    if recording.maps.recorded is None:
        return []
    graph, pieces = recording.graph, []
    for block in recording.states.get((source, target), []):
        states = block.source, block.target
        if states[1] == (target,):
            states = block.source, (readout(cuts, source, target),)
        branches = tuple(Branch.of_exit(graph, *pair) for pair in block.branches)
        name = name_branches(recording, branches)
        ends = states[0][-1], states[1][-1]
        made = Piece(*ends, branches[0].part, name, *ends, True, states, branches)
        pieces.append(made)
    return pieces


def _found_piece(recording: Recording, source: Vertex, target: Vertex, part: LinearPart) -> Piece:
    inside = Branch.between(recording.graph, part, source, target).vertices(recording.graph)
    name = name_block(recording, source, target, set(inside))
    return Piece(source, target, part, name, source, target, matrix=not part.skip)


def given_pieces(
    recording: Recording, cuts: list[Vertex], blocks: Sequence[str | nn.Module]
) -> list[Piece]:
    """Return the blocks that the caller names, in the order in which they were computed.

    Raises:
        ValueError: If an entry cannot be used, or two of them do not follow one another.
    """
    place = recording.graph.position
    pieces = [_piece(recording, cuts, c) for block in blocks for c in _calls(recording, block)]
    pieces = list({(piece.source, piece.target): piece for piece in pieces}.values())
    pieces.sort(key=lambda piece: place[piece.target])
    for first, second in pairwise(pieces):
        if not recording.graph.cuts(first.end, second.start):
            raise ValueError(
                f"`blocks` contains {first.name!r} and {second.name!r}, which do not follow one "
                "another; expected blocks in a row. Name the module around both."
            )
    return pieces


def _calls(recording: Recording, block: str | nn.Module) -> list[ModuleCall]:
    calls = recording.of_module(block)
    if not calls:
        shown = block if isinstance(block, str) else type(block).__name__
        near = suggest(shown, [c.name for c in recording.calls])
        raise ValueError(
            f"`blocks` contains {shown!r}, which the model does not call at this input; "
            f"expected modules of the model or their names.{near}"
        )
    return calls


def _piece(recording: Recording, cuts: list[Vertex], call: ModuleCall) -> Piece:
    """Return a named module as a block: the whole of it, or what it is the branch of.

    Raises:
        ValueError: If the module is neither.
    """
    graph, place = recording.graph, recording.graph.position
    for target in [v for v in call.outputs if v in place][:1]:
        sources = [v for v in call.inputs if v in place and place[v] < place[target]]
        for source in sources:
            part = linear_part(graph, source, target)
            if part.skip:
                return Piece(source, target, part, call.name, source, target)
            mapped = map_skip(graph, source, target)
            if mapped is not None:
                ends = (source, target)
                return Piece(*ends, mapped.branch, call.name, *ends, matrix=True)
        for source in sources:
            start = max((c for c in cuts if place[c] <= place[source]), key=place.__getitem__)
            for end in [c for c in cuts if place[c] >= place[target]][:_NEAR]:
                part = linear_part(graph, start, end)
                if part.skip:
                    return Piece(start, end, part, call.name, start, end)
                whole, branch = recording.segment(start, end), recording.segment(source, target)
                skip = _measured_skip(whole, branch)
                if skip:
                    part = replace(linear_part(graph, source, target), skip=skip)
                    return Piece(source, target, part, call.name, start, end)
    raise ValueError(
        f"`blocks` contains {call.name!r}, whose output is neither a multiple of its input plus a "
        "branch nor added to the stream; expected a residual block or its branch."
    )


def _measured_skip(whole: Segment, branch: Segment) -> float | None:
    """Return a where the Jacobian of `whole` is a 1 + that of `branch`, as one probe shows it."""
    shapes = (whole.source_shape, whole.target_shape, branch.source_shape, branch.target_shape)
    if len({prod(shape) for shape in shapes}) > 1:
        return None
    source = torch.Generator().manual_seed(0)
    probe = torch.randn(1, prod(shapes[0]), generator=source).to(**whole.options)
    total, part = (s.vjp(probe.reshape(1, *s.target_shape)).flatten() for s in (whole, branch))
    rest, probe = wide(total - part), wide(probe.flatten())
    skip = float(rest @ probe / (probe @ probe))
    tolerance = torch.finfo(whole.options["dtype"]).eps ** 0.5
    return skip if (rest - skip * probe).norm() <= tolerance * probe.norm() else None


def transitions(recording: Recording, source: Vertex, target: Vertex) -> list[tuple[str, str]]:
    """Return (operation, place) of what acts on the stream from one tensor to a later one.

    Rearrangements, shifts and factors of 1 are left out.
    """
    graph, found = recording.graph, []
    for first, second in pairwise(graph.cuts(source, target)):
        part = linear_part(graph, first, second)
        harmless = part.skip == 1.0 and not part.heads
        if operation(second) not in ISOMETRIES and not harmless:
            found.append(_describe(recording, first, second))
    return found


def summary(found: Sequence[tuple[str, str]]) -> str:
    """Return transitions in words: the kinds, how many of each and where the first one is."""
    count = Counter(kind for kind, _ in found)
    where = dict(reversed(found))
    shown = [
        (f"{n} x {kind}" if n > 1 else kind)
        + (f" ({'first ' if n > 1 else ''}{where[kind]})" if where[kind] else "")
        for kind, n in count.most_common(3)
    ]
    return ", ".join(shown) + (f" and {len(count) - 3} other operations" if len(count) > 3 else "")


def not_recognised(recording: Recording, cuts: list[Vertex], additions: Sequence[str]) -> str:
    """Return the sentence for a model without a block: what its graph looks like instead.

    Args:
        recording: The pass.
        cuts: The tensors that every path goes through.
        additions: The modules around the residual additions that are no block.
    """
    graph = recording.graph
    several = [block for blocks in recording.states.values() for block in blocks]
    if several and recording.maps.recorded is None:
        return (
            f"`model` has {len(several)} blocks between states of several tensors, whose Jacobians "
            f"are only known of a recorded pass, and this one is not recorded "
            f"({first_line(recording.maps.refusal)}); expected operations that are recorded. "
            "Remove what the reason names, or measure the spectrum without a prediction."
        )
    steps = list(pairwise(cuts))
    forks = [_describe(recording, s, t) for s, t in steps if len(graph.between(s, t)) > 1]
    seen = (
        f"where paths from the input split, they join in {summary(forks)}"
        if forks
        else f"its {len(steps)} operations form a plain chain"
        if len(steps) > 1
        else "it is a single operation"
    )
    what = "has no residual block that is recognised"
    if additions:
        where = f"around `{additions[0]}`" if additions[0] else "outside any module"
        what = f"has {len(additions)} residual additions (first {where}) and {what[4:]}"
    return (
        f"`model` {what}: {seen}; expected tensors of the form "
        "a * input + branch that every path goes through. If it has residual blocks, name them "
        "with `blocks=`; otherwise measure its spectrum without a prediction."
    )


def _describe(recording: Recording, source: Vertex, target: Vertex) -> tuple[str, str]:
    """Name the operation that ends a stretch, and the innermost module that it ends."""
    inside = set(recording.graph.between(source, target))
    kind = _WORDS.get(operation(target), operation(target))
    ending = [c.name for c in recording.ending([target]) if c.name]
    if ending:
        innermost = max(ending, key=lambda name: name.count("."))
        return _joined(kind, len(inside)), f"at `{innermost}`"
    calls = [c for c in recording.ending(inside) if c.name]
    return _joined(kind, len(inside)), f"around `{join_names(calls)}`" if calls else ""


def _joined(kind: str, operations: int) -> str:
    return f"{kind} of {operations} operations" if operations > 1 else kind
