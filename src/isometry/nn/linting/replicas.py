"""Copies of a parameter on several processes, which must agree."""

from collections.abc import Iterator
from typing import Any

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.sandbox.ranks import largest_difference

_AGREE = 1e-6
"""Relative difference of copies that is none: they are of one draw, or they are not."""


def replicas(evidence: Evidence) -> Iterator[Finding]:
    """Name parameters whose copies on several processes are not equal."""
    followed = evidence.followed
    for name, parameter in followed.parameters.items():
        for group in [*_copies(parameter), *followed.groups]:
            own: Any = parameter
            local = own.to_local() if hasattr(own, "to_local") else parameter
            gap = largest_difference(local, group)
            if gap > _AGREE:
                yield Finding(
                    name, "replicas", "error",
                    f"Its copies on {group.size()} ranks differ, by {gap:.2g} of their norm.",
                    "Draw it from one seed on every rank, or broadcast it from one of them.",
                    gap,
                )  # fmt: skip
                break


def _copies(parameter: Any) -> Iterator[Any]:
    """Yield the groups of processes that hold the same part of a parameter."""
    mesh = getattr(parameter, "device_mesh", None)
    if mesh is not None:
        for axis, placement in enumerate(parameter.placements):
            if placement.is_replicate() and mesh.size(axis) > 1:
                yield mesh.get_group(axis)
