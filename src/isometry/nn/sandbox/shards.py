"""Which entries of a parameter this process holds."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from isometry._typing import Int


def held_indices(parameter: Tensor) -> list[Int[np.ndarray, "_"] | None]:
    """Return for each axis the places that this process holds, ascending; None where all.

    Args:
        parameter: A tensor, or a DTensor of any mesh and sharding.

    Raises:
        NotImplementedError: If it is a sum over processes, which has no entries of its own, or
            its part here is not what its placements say.
    """
    sharded: Any = parameter
    if not hasattr(sharded, "device_mesh"):
        return [None] * parameter.ndim
    if any(placement.is_partial() for placement in sharded.placements):
        raise NotImplementedError(
            "`model` has a parameter that is a sum over processes (`Partial`); expected one that "
            "is whole or sharded. Redistribute it first."
        )
    places = [_along(axis, sharded) for axis in range(sharded.ndim)]
    sizes = [n if own is None else len(own) for n, own in zip(sharded.shape, places, strict=True)]
    held = sharded.to_local()
    if held.numel() and list(held.shape) != sizes:
        raise NotImplementedError(
            f"`model` has a parameter whose part here has shape {tuple(held.shape)}, while its "
            f"placements {sharded.placements} say {tuple(sizes)}; expected these to agree. Shard "
            "evenly."
        )
    return places


def _along(axis: int, sharded: Any) -> Int[np.ndarray, "_"] | None:
    """Cut the numbers of an axis as the parameter is cut along it.

    A strided shard (FSDP2 over tensor parallelism) is a part of what the other meshes leave, so
    it comes after them.
    """
    mesh, numbers = sharded.device_mesh, torch.arange(sharded.shape[axis])
    own = [i for i, p in enumerate(sharded.placements) if getattr(p, "dim", None) == axis]
    for i in sorted(own, key=lambda i: hasattr(sharded.placements[i], "split_factor")):
        pieces = numbers.chunk(mesh.size(i))
        place = mesh.get_local_rank(i)
        numbers = pieces[place] if place < len(pieces) else numbers[:0]
    return numbers.numpy() if own else None
