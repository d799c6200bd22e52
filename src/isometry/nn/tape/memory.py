"""Where the entries of a tensor lie in its memory, and what that memory holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """The shape of a tensor and the places of its entries in memory."""

    shape: Sequence[int]
    stride: Sequence[int]
    offset: int
    entries: int  # of the whole memory
    device: torch.device

    @classmethod
    def of(cls, value: Tensor) -> "Geometry":
        entries = value.untyped_storage().nbytes() // value.element_size()
        return cls(value.shape, value.stride(), int(value.storage_offset()), entries, value.device)

    @property
    def places(self) -> Tensor:
        """Return the position of every entry of the tensor in memory."""
        positions = torch.arange(self.entries, device=self.device)
        return positions.as_strided(self.shape, self.stride, self.offset)

    @property
    def owners(self) -> Tensor:
        """Return which entry of the tensor each position of memory holds; -1 for none."""
        places = self.places.flatten()
        owners = torch.full((self.entries,), -1, dtype=torch.int64, device=self.device)
        owners[places] = torch.arange(places.numel(), device=self.device)
        return owners

    @property
    def covers(self) -> bool:
        """Return whether the tensor holds every entry of its memory exactly once."""
        expected = 1
        for stride, size in sorted(zip(self.stride, self.shape, strict=True)):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return expected == self.entries


@dataclass
class Memory:
    """What one storage holds: the node of its current content, laid out as ``geometry`` says."""

    node: int | None
    geometry: Geometry | None  # None: the node is the content as a vector
    version: int = 0
