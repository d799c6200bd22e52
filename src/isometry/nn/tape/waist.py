"""The narrowest value between two others of a pass: it bounds the rank of the Jacobian.

Every path from the input to the output may pass through one value: the stream between two blocks,
a bottleneck. Of its entries only those count that the input reaches and the output reads; a unit
that ReLU has switched off or a pixel that a stride leaves out is neither. The rank of the Jacobian
is at most their number, and a matrix with as many rows has its singular values, zeros aside.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from isometry.nn.sandbox.reporting import report
from isometry.nn.tape.program import Program
from isometry.nn.tape.tape import Layout, Tape

_BLOCK_ENTRIES = 2**20
"""Entries of a block of unit vectors that goes through at once."""

Products = Callable[[Tensor], Tensor]
"""Products of a stack of tangents, or of cotangents, with a matrix."""


@dataclass(frozen=True, eq=False)
class Waist:
    """A value that all paths go through, and the flat places of its entries that count."""

    node: int
    layout: Layout
    places: Tensor

    @property
    def rank(self) -> int:
        """The largest rank that the Jacobian can have."""
        return len(self.places)


def narrowest(tape: Tape) -> Waist:
    """Return the value between input and output of which the fewest entries count.

    Two random tangents show what is reached and two cotangents what is read: exact zeros only.
    """
    program = tape.forward
    reached = _seen(tape.jvp, program, tape.source)
    read = _seen(tape.vjp, program, tape.target)
    best = None
    for node in [program.stop, program.start, *_cuts(program)]:
        if node in reached and node in read:
            (layout, ahead), (_, behind) = reached[node], read[node]
            places = (ahead & behind).nonzero().flatten()
            if best is None or len(places) < best.rank:
                best = Waist(node, layout, places)
    if best is None:  # no path leads from the input to the output
        return Waist(program.stop, tape.target, torch.zeros(0, dtype=torch.long))
    return best


def compact(tape: Tape, waist: Waist) -> Tensor:
    """Return a matrix with the singular values of the Jacobian, some of its zeros left out.

    Returns:
        A matrix with the Jacobian's columns or, where it has more rows than columns, maybe with
        its rows; its singular vectors of that side are the Jacobian's.
    """
    source, target = tape.source, tape.target
    if waist.rank == 0:
        return torch.zeros(1, prod(source.shape), dtype=source.dtype, device=source.device)
    if waist.node == tape.forward.stop:
        return rows(tape.vjp, target, source, waist.places)
    if waist.node == tape.forward.start:
        return rows(tape.jvp, source, target, waist.places).T
    before, after = tape.split(waist.node, waist.layout)
    wide = torch.promote_types(source.dtype, torch.float32)  # no QR in half precision
    first = rows(before.vjp, waist.layout, source, waist.places).to(wide)
    then = rows(after.jvp, waist.layout, target, waist.places).to(wide)
    if then.shape[1] <= first.shape[1]:
        return torch.linalg.qr(then.T, mode="r").R @ first
    return (torch.linalg.qr(first.T, mode="r").R @ then).T


def whole(product: Products, source: Layout, image: Layout) -> Tensor:
    """Push all unit vectors in the shape of ``source`` through, a block at a time."""
    places = torch.arange(prod(source.shape), device=source.device)
    return rows(product, source, image, places)


def rows(product: Products, source: Layout, image: Layout, places: Tensor) -> Tensor:
    """Push the unit vectors through that have their one at these flat places."""
    n, width = prod(source.shape), prod(image.shape)
    blocks, done = [], 0
    for part in places.split(max(1, _BLOCK_ENTRIES // max(n, width))):
        block = torch.zeros(len(part), n, dtype=source.dtype, device=source.device)
        block[torch.arange(len(part), device=part.device), part] = 1
        blocks.append(product(block.reshape(-1, *source.shape)).reshape(-1, width))
        done += len(part)
        report(done, len(places))
    return torch.cat(blocks)


def _seen(
    product: Callable[..., Tensor], program: Program, start: Layout
) -> Mapping[int, tuple[Layout, Tensor]]:
    """Return which entries of the values that all paths go through are not zero."""
    cuts = {program.start, program.stop, *_cuts(program)}
    found: dict[int, tuple[Layout, Tensor]] = {}

    def watch(node: int, value: Tensor) -> None:
        if node in cuts:
            found[node] = Layout.of(value[0]), value.flatten(1).ne(0).any(dim=0)

    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, *start.shape, generator=generator).to(start.device, start.dtype)
    product(drawn, watch)
    return found


def _cuts(program: Program) -> Iterator[int]:
    """Yield the nodes that every path from start to stop goes through, both ends left out."""
    place = {program.start: 0} | {step.target: i for i, step in enumerate(program.steps, 1)}
    furthest = [0] * (len(place) + 1)
    for edge in program.edges:
        furthest[place[edge.source]] = max(furthest[place[edge.source]], place[edge.target])
    far = 0
    for node, i in place.items():
        if far <= i and node not in (program.start, program.stop):
            yield node
        far = max(far, furthest[i])
