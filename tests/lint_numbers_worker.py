"""Run as one of four processes: lints faulty models whole and on several meshes.

Usage: lint_numbers_worker.py RANK RANKS FOLDER, where the processes share the folder.
"""

import dataclasses

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cases_lint import STD, Bank, decoder, redraw, tokens
from cases_ranks import joined
from isometry import nn as inn

PLAN = {"up": ColwiseParallel(), "gate": ColwiseParallel(), "down": RowwiseParallel()}
WIDE = 600


def faulty():
    """A decoder with a fault of another kind in every layer."""
    model = decoder()
    layers = model.layers
    with torch.no_grad():
        layers[0].up.weight[88:].copy_(layers[0].up.weight[:88])
        layers[0].norm1.weight.normal_(generator=torch.Generator().manual_seed(0))
        layers[1].down.weight[:, 88:].copy_(layers[1].down.weight[:, :88])
        layers[1].attention.o.weight.mul_(8).round_().div_(8)
        layers[2].gate.weight.copy_(STD * torch.outer(torch.arange(176) % 7 - 3, torch.ones(64)))
        layers[2].attention.frequencies.mul_(3)
        layers[3].up.weight.fill_(0.05)
        layers[3].gate.weight.mul_(64).round_().div_(64)
        layers[4].attention.o.weight.zero_()
        layers[4].down.weight[3, 3] = torch.nan
        layers[5].gate.weight.copy_(layers[5].up.weight)
        redraw(layers[5].down.weight, 4 * STD, 7)
    return model


def banks():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(*[Bank(generator) for _ in range(3)])
    with torch.no_grad():
        model[1].up[2].mul_(3)
        model[0].up[1].copy_(model[0].up[0])
    return model


class Wide(nn.Module):
    """Maps that are far larger than what any process may see of them at once."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(WIDE, WIDE, bias=False) for _ in range(4))
        for place, m in enumerate(self.maps):
            redraw(m.weight, WIDE**-0.5, place)
        with torch.no_grad():
            self.maps[0].weight[1].copy_(self.maps[0].weight[WIDE - 1])
            self.maps[1].weight[:, 1].copy_(self.maps[1].weight[:, WIDE - 1])
            self.maps[2].weight.copy_(torch.outer(torch.ones(WIDE), self.maps[2].weight[0]))

    def forward(self, x):
        for m in self.maps:
            x = x + torch.tanh(m(x))
        return x


class Seen(TorchDispatchMode):
    """The largest tensor with values that an operation gives, and what is done to DTensors."""

    def __init__(self):
        super().__init__()
        self.largest, self.on_shards = 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        if any(isinstance(t, DTensor) for t in tensors):
            self.on_shards.add(str(func))
        plain = [t.numel() for t in tensors if not isinstance(t, DTensor) and not t.is_meta]
        self.largest = max([self.largest, *plain])
        return out


def sharded(model, mesh):
    parts = model.layers if hasattr(model, "layers") else list(model.children())
    for layer in parts:
        if isinstance(layer, nn.ModuleList):
            continue
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def parallel(model, mesh):
    for layer in model.layers:
        parallelize_module(layer, mesh, PLAN)
    return model


def found(model, x, **kwargs):
    report = inn.lint(model, x, **kwargs)
    return {
        "findings": [[f.parameter, f.rule, f.severity, f.message] for f in report.findings],
        "numbers": {name: dataclasses.asdict(s) for name, s in report.summaries.items()},
    }


def seen(mesh, *, gathered=False):
    model = sharded(Wide(), mesh)
    x = torch.randn(4, WIDE, generator=torch.Generator().manual_seed(0))
    with Seen() as record:
        if gathered:
            model.maps[0].weight.full_tensor()
        else:
            inn.lint(model, x)
            inn.lint(model, x, trained=True)
    own = max(p.to_local().numel() for p in model.parameters())
    return {"largest": record.largest, "own": own, "on shards": sorted(record.on_shards)}


if __name__ == "__main__":
    with joined() as (ranks, answer):
        LINE = init_device_mesh("cpu", (ranks,))
        SQUARE = init_device_mesh("cpu", (2, ranks // 2), mesh_dim_names=("dp", "tp"))
        MESHES = {
            "fsdp": lambda model: sharded(model, LINE),
            "tp": lambda model: parallel(model, LINE),
            "fsdp over tp": lambda model: sharded(parallel(model, SQUARE["tp"]), SQUARE["dp"]),
            "copies of shards": lambda model: sharded(model, SQUARE),
        }
        x = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
        half = (lambda: decoder().bfloat16(), tokens().bfloat16())
        CASES = {
            "faulty": (faulty, tokens(), ("fsdp", "tp", "fsdp over tp")),
            "fresh": (decoder, tokens(), ("fsdp over tp",)),
            "bfloat16": (*half, ("fsdp",)),
            "banks": (banks, x, ("copies of shards",)),
        }
        results = {}
        for name, (make, point, meshes) in CASES.items():
            options = {"trained": True} if name == "fresh" else {}
            if dist.get_rank() == 0:
                results[f"{name}, whole"] = found(make(), point, **options)
            for mesh in meshes:
                results[f"{name}, {mesh}"] = found(MESHES[mesh](make()), point, **options)
        results["seen"], results["gathered"] = seen(LINE), seen(LINE, gathered=True)
        answer(results)
