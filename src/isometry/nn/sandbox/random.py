"""Random numbers: where ours come from, and every generator that a model may draw from."""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isometry._typing import Checked

LOW, HIGH = 1, 2
"""Variations that make the next numbers the smallest and the largest there are."""
_WORDS, _FILLED = 624, 400
"""Words of the state of the Mersenne twister, which torch, numpy and `random` all use on the CPU,
and how many of them are filled: where numbers are rejected until they suit, the others come."""
_ONES = 2**32 - 1


def generator_or_fresh(
    generator: Checked[torch.Generator | None], *, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return ``generator``, or a new one whose seed is drawn from torch's global generator.

    So ``torch.manual_seed`` decides, and that one draw is all that moves.

    Raises:
        TypeError: If it is another kind of generator.
    """
    if isinstance(generator, torch.Generator):
        return generator
    if generator is not None:
        raise TypeError(
            f"`generator` is a {type(generator).__name__}; expected a torch.Generator. Make one: "
            "`torch.Generator().manual_seed(0)`."
        )
    return torch.Generator(device=device).manual_seed(seed_from(torch.default_generator))


def seed_from(generator: torch.Generator) -> int:
    """Return a seed drawn from a generator."""
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


@dataclass(frozen=True)
class Source:
    """A generator that a model may draw from: its state, and how to give it other numbers."""

    state: Callable[[], Any]
    restore: Callable[[Any], object]
    seed: Callable[[int], object]
    fill: Callable[[int], object] | None = None
    """Make the next hundreds of 32-bit numbers all equal to one, where the algorithm allows it."""

    def vary(self, variation: int) -> None:
        """Give the model other numbers: the smallest, the largest, or those of a seed."""
        self.seed(variation)
        if self.fill is not None and variation in (LOW, HIGH):
            self.fill(0 if variation == LOW else _ONES)


def process_sources(device: torch.device) -> list[Source]:
    """Return the generators of the process: torch's on the CPU and a device, numpy's, Python's."""
    own = _of_torch(torch.default_generator)
    found = [
        Source(own.state, own.restore, own.seed, _fill_torch),
        Source(_numpys_state, np.random.set_state, np.random.seed, _fill_numpy),
        Source(random.getstate, random.setstate, random.seed, _fill_python),
    ]  # fmt: skip
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        found.append(_of_torch(torch.cuda.default_generators[index]))
    elif device.type == "xpu":
        index = torch.xpu.current_device() if device.index is None else device.index
        found.append(_of_torch(torch.xpu.default_generators[index]))
    elif device.type == "mps":
        found.append(_of_torch(torch.mps._get_default_mps_generator()))
    return found


def source_of(value: object) -> Source | None:
    """Return the generator that a model keeps as an attribute; None for anything else."""
    if isinstance(value, torch.Generator):
        return _of_torch(value)
    if isinstance(value, random.Random):
        return Source(value.getstate, value.setstate, value.seed)
    if isinstance(value, np.random.RandomState):
        return Source(lambda: value.get_state(legacy=False), value.set_state, value.seed)
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator

        def restore(state: Any) -> None:
            bits.state = state

        return Source(lambda: bits.state, restore, lambda seed: restore(type(bits)(seed).state))
    return None


def same(one: Any, other: Any) -> bool:
    """Return whether two states are equal."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def _of_torch(generator: torch.Generator) -> Source:
    return Source(generator.get_state, generator.set_state, generator.manual_seed)


def _key(word: int) -> int:
    """Return the entry of the twister's state that comes out as ``word``; 0 comes from 0."""
    for shift, mask in ((-18, _ONES), (15, 0xEFC60000), (7, 0x9D2C5680), (-11, _ONES)):
        first = word
        for _ in range(5):  # each round gets the next bits right
            word = first ^ ((word << shift if shift > 0 else word >> -shift) & mask)
    return word & _ONES


def _fill_python(word: int) -> None:
    kept = random.getstate()[1][_FILLED:_WORDS]
    random.setstate((3, (_key(word),) * _FILLED + kept + (0,), None))


def _numpys_state() -> Any:
    return np.random.get_state(legacy=False)  # noqa: NPY002 (what a foreign model draws from)


def _fill_numpy(word: int) -> None:
    state = _numpys_state()
    if state["bit_generator"] == "MT19937":
        state["state"]["key"][:_FILLED] = _key(word)
        state["state"]["pos"] = 0
        np.random.set_state(state)  # noqa: NPY002


def _fill_torch(word: int) -> None:
    """Write the words into the saved state: seed, words left, whether seeded, place, words."""
    state = bytearray(torch.default_generator.get_state().numpy().tobytes())
    struct.pack_into(f"=iiQ{_FILLED}Q", state, 8, _WORDS, 1, 0, *[_key(word)] * _FILLED)
    torch.default_generator.set_state(torch.frombuffer(state, dtype=torch.uint8).clone())
