r"""Random numbers that are known by their place: entry n of a tensor, whoever asks for it.

A counter-based generator (Philox 4x64 of NumPy) has for every key one endless sequence of 64-bit
words that can be entered anywhere. Word p gives the standard normal numbers 2p and 2p + 1 by

    z = sqrt(-2 log u) (cos w, sin w),        u = (a + 1/2) / 2^32,        w = 2 pi b / 2^32

with its lower and upper halves a, b (Box and Muller). A process that holds a part of a tensor
computes the words of that part alone, and gets the numbers that all others would get for it.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from isometry._typing import Float, Int

_CHUNK = 2**15
"""Words at a time: what one step needs stays in the processor's cache."""
_WORDS = 4
"""Words per counter of the generator."""


def key_of(seed: int, name: str) -> int:
    """Return the 128-bit key of a parameter's sequence."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "big")


def normals(key: int, start: int, stop: int) -> Iterator[Float[np.ndarray, "chunk"]]:
    """Yield the standard normal numbers of one sequence from ``start`` to ``stop``, in chunks.

    Args:
        key: Of the sequence.
        start: Place of the first number.
        stop: One more than the place of the last.
    """
    word, last = start // 2, -(-stop // 2)
    source = np.random.Generator(np.random.Philox(key=key, counter=word // _WORDS))
    skipped = word % _WORDS
    if skipped:
        source.integers(0, 2**64, skipped, dtype=np.uint64)
    while word < last:
        count = min(_CHUNK, last - word)
        pairs = _pairs(source.integers(0, 2**64, count, dtype=np.uint64))
        yield pairs[max(start - 2 * word, 0) : stop - 2 * word]
        word += count


def _pairs(words: np.ndarray) -> Float[np.ndarray, "twice"]:
    """Return two standard normal numbers for every word, one behind the other."""
    low, high = (words & np.uint64(0xFFFFFFFF)), (words >> np.uint64(32))
    radius = low.astype(np.float32)
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-32)
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(radius, out=radius)
    angle = high.astype(np.float32)
    angle *= np.float32(2 * math.pi * 2.0**-32)
    made = np.empty(2 * len(words), np.float32)
    np.multiply(radius, np.cos(angle), out=made[0::2])
    np.multiply(radius, np.sin(angle), out=made[1::2])
    return made


def runs(
    shape: Sequence[int], indices: Sequence[Int[np.ndarray, "_"] | None]
) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the runs of entries that a part of a tensor is made of, in its order.

    Args:
        shape: Of the whole tensor.
        indices: For each axis the places that are in the part, ascending; None where all are.
    """
    axis = max((a for a, own in enumerate(indices) if own is not None), default=-1)
    inner = math.prod(shape[axis + 1 :])
    if axis < 0:
        yield 0, inner
        return
    own = indices[axis]
    assert own is not None
    pieces = np.split(own, np.flatnonzero(np.diff(own) != 1) + 1) if len(own) else []
    outer = [
        range(n) if o is None else o for n, o in zip(shape[:axis], indices[:axis], strict=True)
    ]
    for places in product(*outer):
        offset = 0
        for place, size in zip(places, shape[:axis], strict=True):
            offset = offset * size + int(place)
        for piece in pieces:
            first = offset * shape[axis] + int(piece[0])
            yield first * inner, (first + len(piece)) * inner
