"""Which sizes of c are near isometry and far from it, and which blocks carry too much of it."""

from collections.abc import Mapping

NEAR, FAR = 1.5, 3.0
"""The c whose law's span is still called near isometry, and that from which it is called far."""


def heavy_blocks(shares: Mapping[str, float]) -> list[str]:
    """Name the blocks that carry far more than their even part of c."""
    even = 1 / max(len(shares), 1)
    heavy = {n: s for n, s in shares.items() if s > 3 * even and s > 0.05 and len(shares) > 2}
    top = sorted(heavy, key=lambda name: -heavy[name])[:3]
    return [
        f"Block `{name}` alone carries {heavy[name]:.0%} of c, {heavy[name] / even:.3g} times "
        "its even share."
        for name in top
    ]
