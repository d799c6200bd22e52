"""Blocks whose weights are copies of an earlier block's: they are not free of each other."""

import warnings
from collections.abc import Sequence

import torch
from torch import nn

from isometry.errors import TheoryWarning
from isometry.nn.blocks.blocks import Block
from isometry.nn.init.changes import local
from isometry.nn.sandbox.unwrap import plain_parameters


def copies(blocks: Sequence[Block], root: nn.Module) -> dict[int, int]:
    """Return {block: earlier block} where all weights of linear maps are equal and not shared.

    Weights of one constant, as zeros, count for nothing; of sharded ones the part held here counts.
    """
    known = plain_parameters(root)
    found: dict[int, int] = {}
    seen: dict[tuple, list[int]] = {}
    weights = [
        [local(known[name].detach()) for name in linear_maps(block) if name in known]
        for block in blocks
    ]
    drawn = [[w for w in own if w.numel() and bool((w != w.flatten()[0]).any())] for own in weights]
    for index, own in enumerate(drawn):
        alike = seen.setdefault(tuple((w.shape, complex(w.sum())) for w in own), [])
        for other in alike if own else []:
            pairs = list(zip(own, drawn[other], strict=True))
            if all(a.data_ptr() != b.data_ptr() and torch.equal(a, b) for a, b in pairs):
                found.setdefault(index, other)
        alike.append(index)
    return found


def linear_maps(block: Block) -> list[str]:
    """Return the names of the weights of the branch's linear maps, from its output backwards."""
    return [name for name, role in block.parameters.items() if role == "linear"]


def warn_of_copies(blocks: Sequence[Block], root: nn.Module) -> None:
    """Say that the law does not hold where blocks are copies.

    Warns:
        TheoryWarning: If there is a copy.
    """
    for index, other in copies(blocks, root).items():
        warnings.warn(
            f"`model` has copied weights (block {blocks[index].name!r} has those of "
            f"{blocks[other].name!r}), so its blocks are not free and the law does not hold at "
            "any c; pass `redraw=True` to draw the last linear map of every copy anew.",
            TheoryWarning,
            stacklevel=3,
        )
        return
