"""Run as one of two processes: lints models of which both hold a part or a copy.

Usage: lint_worker.py RANK RANKS FOLDER, where the processes share the folder.
"""

import sys

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from cases_lint import STD, decoder, redraw, tokens
from cases_ranks import joined
from isometry import nn as inn

RANK = int(sys.argv[1])
PLAN = {"up": ColwiseParallel(), "gate": ColwiseParallel(), "down": RowwiseParallel()}


def odd():
    """One map of one layer is three times as large as in the others."""
    model = decoder()
    redraw(model.layers[1].up.weight.data, 3 * STD, 7)
    return model


def sharded(model):
    for layer in model.layers:
        fully_shard(layer, mesh=MESH)
    return fully_shard(model, mesh=MESH)


def parallel(model):
    for layer in model.layers:
        parallelize_module(layer, MESH, PLAN)
    return model


def copied(*, unequal):
    model = DistributedDataParallel(decoder())
    if unequal and RANK:
        with torch.no_grad():
            model.module.layers[2].gate.weight.mul_(1.001)
    return model


def replicated(*, unequal):
    model = nn.Linear(8, 8)
    source = torch.Generator().manual_seed(RANK if unequal else 0)
    own = torch.randn(8, 8, generator=source)
    model.weight = nn.Parameter(DTensor.from_local(own, MESH, [Replicate()], run_check=False))
    return model


def found(model, x=None):
    report = inn.lint(model, x)
    return {
        "findings": [[f.parameter, f.rule, f.severity, f.message] for f in report.findings],
        "roles": {part.name: part.role for part in report.parts},
        "remark": report.remark,
    }


def untouched(model):
    before = [(type(p).__name__, p.to_local().clone()) for p in model.parameters()]
    hooks = [dict(m._forward_pre_hooks) for m in model.modules()]
    inn.lint(model, tokens())
    after = [(type(p).__name__, p.to_local()) for p in model.parameters()]
    same = all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(before, after, strict=True))
    kept = hooks == [dict(m._forward_pre_hooks) for m in model.modules()]
    return same and kept and torch.allclose(model(tokens()), decoder()(tokens()), atol=1e-6)


CASES = {
    "whole": lambda: found(odd(), tokens()),
    "sharded": lambda: found(sharded(odd()), tokens()),
    "parallel": lambda: found(parallel(odd()), tokens()),
    "untouched": lambda: untouched(sharded(decoder())),
    "equal copies": lambda: found(copied(unequal=False), tokens()),
    "unequal copies": lambda: found(copied(unequal=True), tokens()),
    "equal replicas": lambda: found(replicated(unequal=False)),
    "unequal replicas": lambda: found(replicated(unequal=True)),
}

if __name__ == "__main__":
    with joined() as (_, answer):
        MESH = init_device_mesh("cpu", (2,))
        answer({name: case() for name, case in CASES.items()})
