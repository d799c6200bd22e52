"""Which part of the batch, of the stream and of the model a rank measures, and how parts add up.

Every dimension of the device mesh is one of three kinds: along it the stream is split over an axis
(data parallelism splits the batch), or all ranks hold the same stream (tensor parallelism), or each
rank has other layers (pipeline stages). Sums over entries add up along the first, must agree along
the second, and sums over blocks add up along the third.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from isometry._checks import suggest
from isometry.nn.scale.probes import signs

DATA = ("dp", "ddp", "fsdp", "hsdp", "data", "batch")
"""How the names of dimensions begin along which the batch is split."""
STAGES = "pp"
"""Name of the dimension of pipeline stages."""
UNTRIED = {
    "ep": "experts are",
    "expert": "experts are",
    "cp": "sequence is",
    "context": "sequence is",
}
"""How names of dimensions begin along which tokens travel in the middle of a layer, and why."""
_AGREE = 1e-4
"""Relative difference of sums that rounding may cause between ranks with the same stream."""


@dataclass(frozen=True, eq=False)
class Part:
    """One dimension of the mesh; the stream is split along ``axis``, or the same where it is None.

    Attributes:
        name: Of the dimension, for messages.
        group: The ranks along it.
        axis: Of the stream.
        place: Of this rank along it, where the stream is split.
        size: Number of ranks along it.
    """

    name: str
    group: ProcessGroup | None
    axis: int | None
    place: int
    size: int


@dataclass(frozen=True, eq=False)
class Share:
    """What this rank measures.

    Attributes:
        parts: The dimensions along which the ranks of one stage differ, outermost first.
        stages: The ranks that hold the other stages; None where this one holds all layers.
    """

    parts: tuple[Part, ...] = ()
    stages: ProcessGroup | None = None

    @classmethod
    def of(cls, mesh: DeviceMesh | None, split: Mapping[str, int] | None = None) -> "Share":
        """Return the share of this rank.

        Args:
            mesh: The device mesh with names; without one, and with more than one process, all
                processes are data parallel.
            split: {dimension: axis of the stream that it splits}; without it the batch (axis 0) is
                split along those whose names begin as in `DATA`. Along all others, but the stages,
                the stream is the same.

        Raises:
            ValueError: If the mesh has no names, or the split one that it does not have.
            NotImplementedError: If it has a dimension of experts or of context parallelism.
        """
        if mesh is None:
            return cls(_world({"world": 0} if split is None else split))
        names = mesh.mesh_dim_names
        if names is None:
            raise ValueError(
                "`mesh` has no names; expected a device mesh with named dimensions. Make it with "
                "`init_device_mesh(..., mesh_dim_names=('dp', 'tp'))`."
            )
        refuse_untried("`mesh`", mesh)
        if split is None:
            split = {name: 0 for name in names if name.startswith(DATA)}
        for name in split:
            if name not in names or name == STAGES:
                raise ValueError(
                    f"`split` names {name!r}; expected a dimension of the mesh along which the "
                    f"stream is split, of {', '.join(names)}.{suggest(name, names)}"
                )
        parts = [
            Part(
                name,
                mesh.get_group(name),
                axis,
                0 if axis is None else mesh.get_local_rank(name),
                n,
            )
            for name, n in zip(names, mesh.shape, strict=True)
            if n > 1 and name != STAGES
            for axis in [split.get(name)]
        ]
        staged = STAGES in names and mesh.size(names.index(STAGES)) > 1
        return cls(tuple(parts), mesh.get_group(STAGES) if staged else None)

    def whole(self) -> "Share":
        """Return the share where every rank has the whole batch."""
        parts = [replace(part, axis=part.axis or None) for part in self.parts]
        return Share(tuple(parts), self.stages)

    def draw(self, key: Sequence[int], like: Any) -> Tensor:
        """Return this rank's part of a probe, in the layout of its part of the stream.

        Raises:
            ValueError: If an axis is split that the stream does not have.
        """
        sharded = _is_sharded(like)
        covered = like.device_mesh.get_all_groups() if sharded else ()
        whole, offset = list(like.shape), [0] * like.ndim
        for part in reversed(self.parts):
            if part.axis is not None and part.axis >= like.ndim:
                raise ValueError(
                    f"`split` has {part.name!r} split axis {part.axis}, and the stream has "
                    f"{like.ndim} axes; expected one of them, 1 for the sequence."
                )
            if part.axis is not None and not _is_in(part.group, covered):
                offset[part.axis] += part.place * whole[part.axis]
                whole[part.axis] *= part.size
        options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        z = signs(key, like.shape, offset=offset, whole=whole, **options)
        if not sharded:
            return z
        kind: Any = type(like)
        copies = kind.from_local(z, like.device_mesh, run_check=False)
        return copies.redistribute(placements=like.placements)  # each keeps its part, none is sent

    def total(self, sums: Tensor, added: Sequence[Sequence[ProcessGroup]]) -> Tensor:
        """Add up rows of sums over the ranks of one stage: one reduction along each dimension.

        Args:
            sums: This rank's, float64, a row for each block.
            added: For each row the groups over which the stream itself is a sharded tensor, so
                that their parts add up.

        Returns:
            The sums over the whole batch, the same on every rank.

        Raises:
            ValueError: If ranks that hold the same stream have other numbers.
        """
        for part in self.parts:
            split = torch.tensor([part.axis is not None or _is_in(part.group, a) for a in added])
            split = split.to(sums.device)[:, None]
            both = torch.stack([sums, sums * sums])
            distributed.all_reduce(both, group=part.group)
            mean, square = both / part.size
            spread = (square - mean * mean).clamp_min(0).sqrt().amax(1, keepdim=True)
            size = square.sqrt().amax(1, keepdim=True)
            differs = ~split & (spread > _AGREE * size)
            if bool(differs.any()):
                raise ValueError(
                    f"The ranks of `{part.name}` hold other parts of the stream from block "
                    f"{int(differs.flatten().nonzero()[0, 0])} on; expected the same on each. "
                    f"Give the axis that {part.name!r} splits by `split=`, or all of them the same "
                    "input and weights."
                )
            sums = torch.where(split, both[0], mean)
        return sums


def refuse_untried(whose: str, mesh: Any) -> None:
    """Refuse a mesh with a dimension of experts or of context parallelism.

    Raises:
        NotImplementedError: If there is one of more than one rank.
    """
    for name, size in zip(mesh.mesh_dim_names or (), mesh.shape, strict=False):
        what = next((what for begin, what in UNTRIED.items() if name.startswith(begin)), None)
        if what is not None and size > 1:
            raise NotImplementedError(
                f"{whose} has the dimension {name!r}, along which a layer's {what} spread "
                "over ranks that exchange tokens in it, and such products were never compared with "
                "a whole model's; expected dp, tp and pp. Let FSDP2 and a tensor-parallel plan "
                "shard the layers."
            )


def sharded_over(stream: Any) -> tuple[ProcessGroup, ...]:
    """Return the groups over which a distributed tensor is sharded; none of any other.

    Raises:
        NotImplementedError: If it is a pending sum.
    """
    if not _is_sharded(stream):
        return ()
    if any(placement.is_partial() for placement in stream.placements):
        raise NotImplementedError(
            "The stream is a distributed tensor with a pending sum; expected one that is sharded "
            "or replicated. Redistribute it at the end of each layer."
        )
    groups = zip(stream.device_mesh.get_all_groups(), stream.placements, strict=True)
    return tuple(group for group, placement in groups if placement.is_shard())


def _world(split: Mapping[str, int]) -> tuple[Part, ...]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return ()
    size = distributed.get_world_size()
    axis = next(iter(split.values()), None)
    return (Part("world", None, axis, distributed.get_rank(), size),) if size > 1 else ()


def _is_sharded(tensor: Any) -> bool:
    """Return whether it is a distributed tensor."""
    return hasattr(tensor, "device_mesh")


def _is_in(group: ProcessGroup | None, groups: Iterable[ProcessGroup]) -> bool:
    """Return whether a group is one of several, by the ranks that are in it."""
    if group is None:
        return False
    ranks = distributed.get_process_group_ranks(group)
    return any(distributed.get_process_group_ranks(other) == ranks for other in groups)
