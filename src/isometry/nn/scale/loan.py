"""A model lent to a measurement: frozen and put back as it was, sharded weights gathered once."""

import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from isometry.nn.sandbox.isolation import isolate, own_generators
from isometry.nn.sandbox.random import process_sources
from isometry.nn.sandbox.ranks import refuse_flat_shards, shard_again
from isometry.nn.sandbox.sandbox import refuse_dropout
from isometry.nn.sandbox.undo import Undo, reversible

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_FSDP = "torch.distributed.fsdp"


@reversible
def lent(undo: Undo, models: Iterable[nn.Module]) -> None:
    """Freeze models; their buffers, attributes, gradients and all generators are put back.

    Raises:
        NotImplementedError: If one is sharded by the first kind of FSDP.
        ValueError: If a layer in train mode is random or uses the statistics of the batch.
    """
    modules = {module: name for model in models for name, module in model.named_modules()}
    for module, name in modules.items():
        refuse_flat_shards(module)
        refuse_dropout(f"layer '{name}'", module)
        _refuse_batch_statistics(module, name)
    undo.before(shard_again, modules)
    devices = {p.device for module in modules for p in module.parameters(recurse=False)}
    sources = [s for device in devices or {torch.device("cpu")} for s in process_sources(device)]
    sources += [source for module in modules for source in own_generators(module)]
    for source in sources:
        undo.before(source.restore, source.state())
    for module in modules:
        isolate(module, undo)


def _refuse_batch_statistics(module: nn.Module, name: str) -> None:
    """Refuse batch normalisation in train mode, which mixes the samples that ranks share out.

    Raises:
        ValueError: If the module is one.
    """
    if isinstance(module, _NORMS) and module.training:
        raise ValueError(
            f"`model` normalises with the statistics of the batch in layer '{name}', which differ "
            "from rank to rank; expected running statistics. Call `model.eval()`."
        )


@reversible
def gathered(undo: Undo, layer: nn.Module, within: Iterable[nn.Module]) -> None:
    """Hold the whole weights of a layer that FSDP2 shards, over any number of products.

    Its hooks would gather them for each product anew, and those of the layer before with them.
    A layer that is no unit of FSDP2 itself has weights in the closest unit around it, of `within`.
    """
    fsdp: Any = sys.modules.get(_FSDP)
    if fsdp is None:
        return
    sharded: list[Any] = [m for m in layer.modules() if isinstance(m, fsdp.FSDPModule)]
    for module in sharded:
        undo.before(module.reshard)
        module.unshard()
        for table in (module._forward_pre_hooks, module._forward_hooks):
            undo.before(_refill, table, dict(table))
            for key in [key for key, hook in table.items() if hook.__module__.startswith(_FSDP)]:
                del table[key]
    if layer in sharded:
        return
    units: list[Any] = [m for m in within if isinstance(m, fsdp.FSDPModule)]
    around = [(len(inside), m) for m in units for inside in [set(m.modules())] if layer in inside]
    if around:
        _, closest = min(around, key=lambda pair: pair[0])
        if len(around) > 1:  # the outermost stays gathered behind a pass anyway
            undo.before(closest.reshard)
        closest.unshard()


def _refill(table: dict[int, Any], content: dict[int, Any]) -> None:
    table.clear()
    table.update(content)
