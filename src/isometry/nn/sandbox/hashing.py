"""Splitmix64 on tensors of 64-bit integers: the same numbers on every device and process."""

from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
BITS = 64


def mixed(z: Tensor) -> Tensor:
    """Return the finaliser of splitmix64 of every number; products wrap around at 64 bits."""
    z = (z ^ _shifted(z, 30)) * signed(FIRST)
    z = (z ^ _shifted(z, 27)) * signed(SECOND)
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    """Shift to the right with zeros coming in: torch's own brings in the sign."""
    return (z >> by) & ((1 << (BITS - by)) - 1)


def signed(number: int) -> int:
    """Return the integer with a sign that has the same 64 bits."""
    return number - 2**BITS if number >= 2 ** (BITS - 1) else number
