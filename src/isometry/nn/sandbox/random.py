"""Random generators that never touch the global state."""

import torch

from isometry._typing import Checked


def generator_or_fresh(
    generator: Checked[torch.Generator | None], *, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return ``generator``, or a new one on ``device`` seeded by the operating system.

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
    fresh = torch.Generator(device=device)
    fresh.seed()
    return fresh
