"""Run as one of several processes: measures models they hold together, writes what it got.

Usage: scale_worker.py RANK RANKS FOLDER, where the processes share the folder.
"""

import traceback

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.pipelining import PipelineStage
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from cases_ranks import joined
from cases_scale import DEPTH, batch, numbers, whole_model
from isometry.nn.scale.cost import Cost
from isometry.nn.scale.scale import measure_scale

PLAN = {
    "attention.qkv": ColwiseParallel(),
    "attention.out": RowwiseParallel(),
    "mlp.0": ColwiseParallel(),
    "mlp.2": RowwiseParallel(),
}
BY_SEQUENCE = {
    "norm1": SequenceParallel(),
    "attention": PrepareModuleInput(
        input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),)
    ),
    "attention.qkv": ColwiseParallel(),
    "attention.out": RowwiseParallel(output_layouts=Shard(1)),
    "norm2": SequenceParallel(),
    "mlp": PrepareModuleInput(input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),)),
    "mlp.0": ColwiseParallel(),
    "mlp.2": RowwiseParallel(output_layouts=Shard(1)),
}


def staged(model, mesh):
    """Leave this rank's half of the layers, and make a pipeline stage of them."""
    stage, count = mesh.get_local_rank(), mesh.size()
    own = range(stage * DEPTH // count, (stage + 1) * DEPTH // count)
    model.layers = nn.ModuleDict(
        {name: layer for name, layer in model.layers.items() if int(name) in own}
    )
    if stage > 0:
        model.embedding = nn.Identity()
    if stage < count - 1:
        model.norm = nn.Identity()
    return PipelineStage(model, stage, count, torch.device("cpu"), group=mesh.get_group())


def share_of(x, mesh, name="dp"):
    return x.chunk(mesh[name].size())[mesh[name].get_local_rank()]


def measured(mesh, *, dp=None, tp=False, pp=False, **options):
    model, x = whole_model(), batch()
    if pp:
        stage = staged(model, mesh["pp"])
    if tp:
        parallel_layers(model, mesh["tp"])
    if dp:
        sharded_layers(model, mesh["dp"])
        x = share_of(x, mesh)
    report = measure_scale(stage if pp else model, x, mesh=mesh, seed=3, **options)
    return numbers(report.gathered(mesh.get_group("pp") if pp else None))


def parallel_layers(model, mesh, plan=PLAN):
    for layer in model.layers.values():
        parallelize_module(layer, mesh, plan)


def sharded_layers(model, mesh, **options):
    for layer in model.layers.values():
        fully_shard(layer, mesh=mesh, **options)
    fully_shard(model, mesh=mesh, **options)


def by_sequence(mesh):
    """Split the stream along the sequence between the layers' products, in plain tensors."""
    model, x = whole_model(), batch()
    parallel_layers(model, mesh, BY_SEQUENCE)
    rank, size = mesh.get_local_rank(), mesh.size()
    embedding = model.embedding.forward
    model.embedding.forward = lambda x: embedding(x).chunk(size, 1)[rank]
    return numbers(measure_scale(model, x, mesh=mesh, split={"tp": 1}, seed=3))


def distributed_stream(mesh):
    """Let the stream itself be a tensor that is sharded along the sequence."""
    model, x = whole_model(), batch()
    plan = BY_SEQUENCE | {
        name: RowwiseParallel(output_layouts=Shard(1), use_local_output=False)
        for name in ("attention.out", "mlp.2")
    }
    parallel_layers(model, mesh, plan)
    embedding = model.embedding.forward
    model.embedding.forward = lambda x: distribute_tensor(embedding(x), mesh, [Shard(1)])
    model.norm = nn.Identity()
    return numbers(measure_scale(model, x, mesh=mesh, seed=3))


def mixed(mesh):
    """Let FSDP2 gather and compute in 16 bits."""
    model = whole_model()
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    sharded_layers(model, mesh, mp_policy=policy)
    return numbers(measure_scale(model, share_of(batch(), mesh), mesh=mesh, seed=3))


def trained(mesh, *, measure):
    model, x = whole_model(), share_of(batch(), mesh)
    sharded_layers(model, mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(2):
        if measure:
            measure_scale(model, x, mesh=mesh)
        model(x).square().sum().backward()
        if measure:
            measure_scale(model, x, mesh=mesh)
        optimizer.step()
        optimizer.zero_grad()
    return [p.full_tensor().tolist() for p in model.parameters()]


def other_streams(mesh):
    model = whole_model()
    parallel_layers(model, mesh)
    return measure_scale(model, batch() * mesh.get_local_rank(), mesh=mesh)


def gathers(mesh):
    """Count the all-gathers of one measurement, after one that prepares FSDP2."""
    model, x = whole_model(), share_of(batch(), mesh)
    sharded_layers(model, mesh)
    model(x)
    with Cost() as cost:
        measure_scale(model, x, mesh=mesh)
    return dict(cost.collectives)


def two_ranks():
    dp, tp, pp = (init_device_mesh("cpu", (2,), mesh_dim_names=(n,)) for n in ("dp", "tp", "pp"))
    return {
        "dp": lambda: measured(dp, dp=True),
        "tp": lambda: measured(tp, tp=True),
        "pp": lambda: measured(pp, pp=True),
        "sequence": lambda: by_sequence(tp),
        "distributed": lambda: distributed_stream(tp),
        "mixed": lambda: mixed(dp),
        "trained": lambda: trained(dp, measure=False),
        "trained and measured": lambda: trained(dp, measure=True),
        "other x": lambda: other_streams(tp),
        "gathers": lambda: gathers(dp),
    }


def four_ranks():
    def of(*names):
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=names)
        return measured(mesh, **dict.fromkeys(names, True))

    return {
        "dp tp": lambda: of("dp", "tp"),
        "pp dp": lambda: of("pp", "dp"),
        "pp tp": lambda: of("pp", "tp"),
    }


def eight_ranks():
    mesh = init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=("dp", "tp", "pp"))
    return {"dp tp pp": lambda: measured(mesh, dp=True, tp=True, pp=True)}


def result_of(case):
    try:
        return case()
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"


def main():
    with joined() as (ranks, answer):
        cases = {2: two_ranks, 4: four_ranks, 8: eight_ranks}[ranks]()
        answer({name: result_of(case) for name, case in cases.items()})


if __name__ == "__main__":
    main()
