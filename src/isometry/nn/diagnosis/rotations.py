"""Random orthogonal maps of the channels, the same one at every token or pixel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_DENSE = 4096
"""Channels up to which a rotation is a matrix, uniformly distributed (Haar)."""
_ROUNDS = 3


@dataclass(frozen=True)
class Haar:
    """A uniformly distributed orthogonal matrix, applied to the last axis."""

    matrix: Tensor

    @classmethod
    def drawn(cls, size: int, generator: torch.Generator) -> "Haar":
        """Draw one: the orthogonal factor of a Gaussian matrix, the triangular one's signs +."""
        drawn = torch.randn(size, size, generator=generator, dtype=torch.float64)
        Q, R = torch.linalg.qr(drawn)
        return cls(Q * torch.where(R.diagonal() < 0, -1.0, 1.0))

    def like(self, dtype: torch.dtype, device: torch.device) -> "Haar":
        """Return it in another type, on another device."""
        return Haar(self.matrix.to(dtype=dtype, device=device))

    def apply(self, v: Tensor) -> Tensor:
        """Return Q v."""
        return v @ self.matrix.T

    def apply_transposed(self, u: Tensor) -> Tensor:
        """Return Qᵀ u."""
        return u @ self.matrix


@dataclass(frozen=True)
class Mixed:
    """Three rounds of random signs and a Hartley transform along the last axis: n log n work.

    The transform takes the real minus the imaginary part of Fourier's, over sqrt(n): orthogonal,
    symmetric and its own inverse for every n, where Hadamard's asks for a power of two.
    """

    signs: Tensor  # (rounds, size)

    @classmethod
    def drawn(cls, size: int, generator: torch.Generator) -> "Mixed":
        """Draw one: only the signs are random."""
        return cls(2.0 * torch.randint(0, 2, (_ROUNDS, size), generator=generator) - 1.0)

    def like(self, dtype: torch.dtype, device: torch.device) -> "Mixed":
        """Return it in another type, on another device."""
        return Mixed(self.signs.to(dtype=dtype, device=device))

    def apply(self, v: Tensor) -> Tensor:
        """Return Q v."""
        for signs in self.signs:
            v = _hartley(v * signs)
        return v

    def apply_transposed(self, u: Tensor) -> Tensor:
        """Return Qᵀ u."""
        for signs in self.signs.flip(0):
            u = _hartley(u) * signs
        return u


def _hartley(v: Tensor) -> Tensor:
    transformed = torch.fft.fft(v)
    return (transformed.real - transformed.imag) / math.sqrt(v.shape[-1])


@dataclass(frozen=True)
class Rotation:
    """A random orthogonal map of one axis of a stack of tensors, or of all entries.

    Attributes:
        axis: Of one tensor; None for all entries.
        map: What acts along it.
    """

    axis: int | None
    map: Haar | Mixed

    @classmethod
    def drawn(
        cls,
        shape: tuple[int, ...],
        axis: int | None,
        generator: torch.Generator,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> "Rotation":
        """Draw one for tensors of a shape."""
        size = math.prod(shape) if axis is None else shape[axis]
        kind = Haar if size <= LARGEST_DENSE else Mixed
        return cls(axis, kind.drawn(size, generator).like(dtype, device))

    def apply(self, v: Tensor, *, transposed: bool = False) -> Tensor:
        """Rotate every tensor of a stack, of shape (k, ...), or rotate it back."""
        act = self.map.apply_transposed if transposed else self.map.apply
        if self.axis is None:
            return act(v.flatten(1)).reshape(v.shape)
        return act(v.movedim(self.axis + 1, -1)).movedim(-1, self.axis + 1)


@dataclass(frozen=True)
class Together:
    """One random orthogonal map of the channels of all tensors of a state, flattened in a row.

    Attributes:
        shapes: Of the tensors.
        rotations: One for each; those of as many channels have the same map.
    """

    shapes: tuple[tuple[int, ...], ...]
    rotations: tuple[Rotation, ...]

    @classmethod
    def drawn(
        cls,
        shapes: Sequence[tuple[int, ...]],
        axes: Sequence[int],
        generator: torch.Generator,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> "Together":
        """Draw one for states of these tensors."""
        maps: dict[int, Haar | Mixed] = {}
        rotations = []
        for shape, axis in zip(shapes, axes, strict=True):
            if shape[axis] not in maps:
                made = Rotation.drawn(shape, axis, generator, dtype=dtype, device=device)
                maps[shape[axis]] = made.map
            rotations.append(Rotation(axis, maps[shape[axis]]))
        return cls(tuple(shapes), tuple(rotations))

    @property
    def axis(self) -> tuple[int | None, ...]:
        """The axis of each tensor."""
        return tuple(rotation.axis for rotation in self.rotations)

    def apply(self, v: Tensor, *, transposed: bool = False) -> Tensor:
        """Rotate every state of a stack, of shape (k, entries), or rotate it back."""
        parts = v.flatten(1).split([math.prod(shape) for shape in self.shapes], 1)
        turned = [
            rotation.apply(part.reshape(-1, *shape), transposed=transposed).flatten(1)
            for rotation, part, shape in zip(self.rotations, parts, self.shapes, strict=True)
        ]
        return torch.cat(turned, 1).reshape(v.shape)
