r"""The sums of one layer's residual blocks, from products with the transposed Jacobian alone.

A block is y = a s + f(s) with X = df/ds. Of random signs z with entries known by their place,

    zᵀ X z,        |Xᵀ z|^2,        zᵀ Xᵀ Xᵀ z

need two reverse products a probe, of the branch alone: no forward mode and no second derivative,
which distributed tensors lack or have wrong. Routing that was chosen in the pass is held, and the
identity of the skip rounds nothing, also in 16 bits.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from isometry._typing import Checked, Integer
from isometry.nn.blocks.graph import LinearPart, layout_of
from isometry.nn.blocks.names import unique
from isometry.nn.sandbox.unwrap import plain_modules
from isometry.nn.scale.layer import Layer, inner, local, run_layer
from isometry.nn.scale.probes import signs
from isometry.nn.tape import Vertex

Probe = Callable[[int, int], Tensor]
"""From (block within the layer, probe) to random signs in the layout of the stream."""


@dataclass(frozen=True)
class BlockSums:
    """What one residual block's part of the stream on one rank adds up to.

    Attributes:
        name: The block's name.
        skip: The factor of the stream; None where it is a matrix or no addition is seen.
        products: Per probe zᵀXz, |Xᵀz|^2 and zᵀXᵀXᵀz, of shape (3, probes), float64; of a block
            whose skip is None only the second is one, with the Jacobian of y for X, the others 0.
        squares: The sums of squares of the stream before and after, of shape (2,); NaN where the
            value between two blocks of one layer was never a tensor of its own.
        entries: Number of entries of y that they are of.
    """

    name: str
    skip: float | None
    products: Tensor
    squares: Tensor
    entries: int


def block_sums(
    layer: Checked[Callable[[Tensor], object]],
    s: Tensor,
    *,
    seed: Integer = 0,
    index: Integer = 0,
    num_probes: Integer = 8,
    name: str = "",
) -> list[BlockSums]:
    """Measure the residual blocks of one layer at one input, by reverse products alone.

    Args:
        layer: From the stream to the stream, of the same shape, as one layer of a transformer; of
            a tuple that it returns the first tensor counts. Parameters get no gradient.
        s: The stream where the layer begins, in any floating-point type.
        seed: Of the probes; with ``index`` it decides every entry.
        index: Which layer of the model this is.
        num_probes: Random sign vectors a block.
        name: The layer's name, in front of those of its modules.

    Returns:
        One entry for every residual addition, from s on; one without a skip where there is none.

    Raises:
        TypeError: If the layer returns no tensor of real numbers.
        ValueError: If what it returns does not depend on s.

    Notes:
        Cost: one forward pass and, for every block and probe, two backward passes without those of
        the parameters. Memory: the activations of this one layer. Neither random generators nor
        gradients are touched; dropout in train mode, though, draws its mask.

    Examples:
        >>> s = torch.ones(2, 3)
        >>> (block,) = block_sums(lambda s: s + 0.5 * s.roll(1, 1), s)
        >>> block.skip, block.products[1, 0].item() / block.entries
        (1.0, 0.25)
    """

    def draw(block: int, probe: int) -> Tensor:
        key = (int(seed), int(index), block, probe)
        return signs(key, s.shape, dtype=s.dtype, device=s.device)

    inside = plain_modules(layer) if isinstance(layer, nn.Module) else ()
    names = {module: f"{name}.{key}".strip(".") for key, module in inside}
    return sums_of(run_layer(layer, s, names), draw, int(num_probes), name)


def sums_of(layer: Layer, draw: Probe, num_probes: int, name: str) -> list[BlockSums]:
    """Return the sums of every block of a layer that was run."""
    ends = [(p.source, p.target, None if p.matrix else p.part) for p in layer.pieces]
    titles = unique(piece.name or name for piece in layer.pieces)
    if not ends:
        ends, titles = [(layer.source, layer.target, None)], [name or "layer"]
    found: list[BlockSums] = []
    for place, ((source, target, part), title) in enumerate(zip(ends, titles, strict=True)):
        pull = _whole(source, target) if part is None else _branch(source, target, part)
        three = _gain if part is None else _three
        columns = [three(pull, draw(place, probe)) for probe in range(num_probes)]
        before, after = (layer.squares.get(v, torch.tensor(math.nan)) for v in (source, target))
        found.append(
            BlockSums(
                name=title,
                skip=None if part is None else part.skip,
                products=torch.stack(columns, dim=1),
                squares=torch.stack([before.to(columns[0]), after.to(columns[0])]),
                entries=local(draw(place, 0)).numel(),
            )
        )
    return found


def _three(pull: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Return zᵀXz, |Xᵀz|^2 and zᵀXᵀXᵀz of one probe."""
    once = pull(z)
    return torch.stack([inner(z, once), inner(once, once), inner(z, pull(once))])


def _gain(pull: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Return |Jᵀz|^2 in the place of |Xᵀz|^2, alone."""
    once = pull(z)
    square = inner(once, once)
    return torch.stack([torch.zeros_like(square), square, torch.zeros_like(square)])


def _branch(source: Vertex, target: Vertex, part: LinearPart) -> Callable[[Tensor], Tensor]:
    """Return products with Xᵀ: what z is to the ends of the branch's terms, pulled back to s."""
    layouts = [layout_of(head) for head in part.heads]
    size = prod(layout_of(target).shape)
    if any(prod(layout.shape) != size for layout in layouts):  # a term is spread over the stream
        whole, skip = _whole(source, target), part.skip or 0.0
        return lambda z: whole(z) - skip * z
    return lambda z: _pulled(
        part.heads,
        [
            (weight * z).reshape(layout.shape).to(layout.dtype)
            for weight, layout in zip(part.weights, layouts, strict=True)
        ],
        source,
        z,
    )


def _whole(source: Vertex, target: Vertex) -> Callable[[Tensor], Tensor]:
    """Return products with the transposed Jacobian between two tensors."""
    return lambda z: _pulled((target,), [z], source, z)


def _pulled(
    ends: Sequence[Vertex], grads: Sequence[Tensor], source: Vertex, like: Tensor
) -> Tensor:
    (found,) = torch.autograd.grad(
        [GradientEdge(*end) for end in ends],  # pyright: ignore[reportArgumentType]
        [GradientEdge(*source)],
        grads,
        retain_graph=True,
        allow_unused=True,
    )
    return torch.zeros_like(like) if found is None else found.detach().reshape(like.shape)
