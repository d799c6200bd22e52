"""Where the entries of a tensor lie in its memory."""

import torch
from torch import Tensor


def entries(value: Tensor) -> int:
    return value.untyped_storage().nbytes() // value.element_size()


def places_of(value: Tensor) -> Tensor:
    """Return the position of every entry in the tensor's memory."""
    places = torch.arange(entries(value), device=value.device)
    return places.as_strided(value.shape, value.stride(), value.storage_offset())


def covers(value: Tensor) -> bool:
    return value.numel() == entries(value) and _dense(value)


def _dense(value: Tensor) -> bool:
    """Return whether the tensor holds every entry of its memory exactly once."""
    expected = 1
    for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True
