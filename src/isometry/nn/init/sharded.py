"""A model whose weights several processes hold together, measured under changes.

Shards cannot be swapped for other tensors: a mesh gathers those that it knows. So a change is
written into the shards, the blocks are measured by reverse products, and the shards are put back.
No pass is followed block by block; all blocks are corrected at once, from one pass to the next.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isometry.nn.blocks.blocks import Block, Stream, residual_stream
from isometry.nn.init.changes import Changes, local
from isometry.nn.init.measured import MeasuredModel, with_numbers
from isometry.nn.init.replay import RecordedPass, Span
from isometry.nn.sandbox.undo import Reversible, Undo, reversible
from isometry.nn.sandbox.unwrap import plain_parameters


def is_sharded(root: nn.Module) -> bool:
    """Return whether several processes hold a parameter together."""
    return any(hasattr(parameter, "placements") for parameter in root.parameters())


def refuse_sharded(root: nn.Module, what: str, remedy: str) -> None:
    """Refuse what needs whole weights.

    Raises:
        NotImplementedError: If the weights are sharded.
    """
    if is_sharded(root):
        name = next(n for n, p in root.named_parameters() if hasattr(p, "placements"))
        raise NotImplementedError(
            f"`model` has {name!r} sharded over processes, and {what} needs whole weights; "
            f"expected them. {remedy}"
        )


def refuse_strided(root: nn.Module) -> None:
    """Refuse shards of shards, whose products end in a crash of the process in torch 2.13.

    Raises:
        NotImplementedError: If a parameter is sharded by FSDP2 over tensor parallelism.
    """
    placed = {n: getattr(p, "placements", ()) for n, p in root.named_parameters()}
    strided = [n for n, ps in placed.items() if any(hasattr(p, "split_factor") for p in ps)]
    if strided:
        raise NotImplementedError(
            f"`model` has {strided[0]!r} sharded by FSDP2 over tensor parallelism; expected whole "
            "weights or one of the two. Plan before `parallelize_module` and `fully_shard`, "
            "`apply_` afterwards."
        )


@dataclass(frozen=True)
class ShardedModel(MeasuredModel):
    """What is measured on every process alike, with one seed for all probes."""

    def stream(self, changes: Changes) -> Stream:
        """Return the residual stream of the model as its shards are.

        Raises:
            ValueError: If there are changes, which have to be written first.
        """
        if changes:
            raise ValueError("`changes` are not in the shards; expected none. Use `under`.")
        made = residual_stream(self.f, self.x, blocks=self.blocks, batch_norm=self.batch_norm)
        return with_numbers(made)

    def under(self, changes: Changes) -> Reversible[list[Block]]:
        """Let the residual blocks be measured with the changes written into the shards."""
        return _written(self, changes)

    def recorded(self, changes: Changes) -> tuple[Stream, RecordedPass]:
        """Return the residual stream, and a pass that cannot be run again."""
        stream = self.stream(changes)
        spans = (Span(None, None),) * len(stream.blocks)
        return stream, RecordedPass((), {}, spans, None, False)


@reversible
def _written(undo: Undo, model: ShardedModel, changes: Changes) -> list[Block]:
    known = plain_parameters(model.root)
    undo.before(reshard, model.root)
    reshard(model.root)
    new = {name: change.values(name, known[name].detach()) for name, change in changes.items()}
    for name, value in new.items():
        held = local(known[name].detach())
        undo.before(_copy, held, held.clone())
        _copy(held, local(value))
    return model.found({})


@torch.no_grad()
def _copy(held: Tensor, value: Tensor) -> None:
    held.copy_(value)


def reshard(root: nn.Module) -> None:
    """Let go of gathered weights, which are copies of the shards as they were."""
    for module in root.modules():
        if hasattr(module, "reshard"):
            module.reshard()  # pyright: ignore[reportCallIssue]
