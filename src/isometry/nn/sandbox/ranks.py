"""Functions that several processes compute together: what every process must bring to them."""

import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch._ops import OpOverload

from isometry.nn.sandbox.precision import widest

_SAME = 1e-5
"""Relative difference of a digest that rounding on unlike machines may cause."""


class Ranks:
    """Process groups that ``f`` communicates in."""

    def __init__(self) -> None:
        self._groups: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self._groups)

    def note(self, func: OpOverload, args: Any) -> None:
        """Add the group of a call if it is a collective."""
        if func.namespace == "c10d":
            for operand in args:
                self._add(_unboxed(operand))
        elif func.namespace == "_c10d_functional" and isinstance(args[-1], str):
            found = distributed.distributed_c10d._resolve_process_group(args[-1])  # pyright: ignore[reportPrivateImportUsage]
            self._add(found)

    def adopt(self, parameters: Iterable[Tensor]) -> None:
        """Add the groups that distributed parameters are spread over."""
        for parameter in parameters:
            mesh = getattr(parameter, "device_mesh", None)
            for group in [] if mesh is None else mesh.get_all_groups():
                self._add(group)

    def check_point(self, x: Tensor, output: Tensor) -> None:
        """Compare where the Jacobian is taken.

        Raises:
            ValueError: If x or f(x) is not the same on every process.
        """
        self._check_same("`x`", x, "Broadcast it from one rank.")
        advice = "Gather it, as `output_layouts=Replicate()` does in a tensor-parallel plan."
        self._check_same("`f(x)`", output, advice)

    def check_same_operand(self, V: Tensor) -> None:
        """Compare what is multiplied.

        Raises:
            ValueError: If it is not the same on every process.
        """
        advice = "Draw it from a `generator` that has the same seed on every rank."
        self._check_same("The operand", V, advice)

    def agree(self, accepted: bool, device: torch.device) -> bool:
        """Return whether every process accepts, so that all of them go on alike."""
        for group in self._groups:
            vote = torch.tensor(float(accepted), device=device)
            distributed.all_reduce(vote, distributed.ReduceOp.MIN, group)
            accepted = bool(vote)
        return accepted

    def all_of(self, flags: list[bool], device: torch.device) -> list[bool]:
        """Return which flags every process sets; none where they have not equally many."""
        for group in self._groups:
            count = torch.tensor([len(flags), -len(flags)], device=device)
            distributed.all_reduce(count, distributed.ReduceOp.MAX, group)
            if int(count.sum()):
                flags = [False] * len(flags)
            elif flags:
                votes = torch.tensor(flags, dtype=torch.float32, device=device)
                distributed.all_reduce(votes, distributed.ReduceOp.MIN, group)
                flags = [bool(vote) for vote in votes.tolist()]
        return flags

    def _check_same(self, name: str, value: Tensor, advice: str) -> None:
        """Compare digests; every process learns of a difference.

        Raises:
            ValueError: If the tensor is not the same on every process.
        """
        for group in self._groups:
            if not largest_difference(value, group) <= _SAME:
                raise ValueError(
                    f"{name} differs between the processes that compute `f` together; expected "
                    f"the same on every rank. {advice}"
                )

    def _add(self, group: object) -> None:
        known = any(group is one for one in self._groups)
        if isinstance(group, distributed.ProcessGroup) and group.size() > 1 and not known:
            self._groups.append(group)


def largest_difference(value: Tensor, group: Any) -> float:
    """Return how far a tensor differs between processes, over its norm; NaN where it is not finite.

    Every process of the group calls this and gets the same number. Two tensors of one norm whose
    projections agree as well count as equal.
    """
    digest = _digest(value)
    extremes = torch.stack([digest, -digest])
    distributed.all_reduce(extremes, distributed.ReduceOp.MAX, group)
    spread = extremes[0] + extremes[1]
    return float((spread / extremes[0][1].clamp_min(1e-300)).max())


def shard_again(modules: Iterable[nn.Module]) -> None:
    """Free the gathered weights of FSDP2 modules, which a forward pass may leave in place."""
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")
    sharded: list[Any] = [m for m in modules if fsdp is not None and isinstance(m, fsdp.FSDPModule)]
    for module in sharded:
        module.reshard()


def refuse_flat_shards(module: nn.Module) -> None:
    """Refuse the first kind of FSDP, which flattens the weights and frees them behind autograd.

    Raises:
        NotImplementedError: If the module is one.
    """
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")
    if fsdp is not None and isinstance(module, fsdp.FullyShardedDataParallel):
        raise NotImplementedError(
            "`f` is sharded by FullyShardedDataParallel, whose weights cannot be followed; "
            "expected FSDP2. Shard it with `torch.distributed.fsdp.fully_shard`."
        )


def _unboxed(operand: object) -> object:
    """Return the process group inside an operand of a collective, if it holds one."""
    if not isinstance(operand, torch.ScriptObject):
        return None
    try:
        return distributed.ProcessGroup.unbox(operand)
    except RuntimeError:  # it holds something else, as the kind of reduction
        return None


def _digest(value: Tensor) -> Tensor:
    """Return the size, the norm and a projection: equal where the tensors are."""
    flat = value.detach().to(widest(value.device)).reshape(-1)
    ramp = torch.linspace(0.5, 1, flat.numel(), dtype=flat.dtype, device=flat.device)
    return torch.stack([flat.new_tensor(flat.numel()), flat.norm(), flat @ ramp / ramp.norm()])
