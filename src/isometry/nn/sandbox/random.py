"""Random generators that never touch the global state."""

import torch


def generator_or_fresh(
    generator: torch.Generator | None, *, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return ``generator``, or a new one on ``device`` seeded by the operating system."""
    if generator is not None:
        return generator
    fresh = torch.Generator(device=device)
    fresh.seed()
    return fresh
