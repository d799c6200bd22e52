"""Run as one of two processes: measures models that both compute together, writes what it got.

Usage: distributed_worker.py RANK RANKS FOLDER, where the processes share the folder.
"""

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.nn.functional import all_reduce
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from cases_modules import Residual, mlp, stack
from cases_ranks import joined
from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.traces import block_traces
from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.spectrum.spectrum import singular_spectrum

RANK = int(sys.argv[1])
WIDTH = 16
X = torch.linspace(-1, 1, WIDTH)[None]
PLAN = {"body.0": ColwiseParallel(), "body.2": RowwiseParallel()}


def whole():
    torch.manual_seed(0)
    return stack(lambda: Residual(mlp(WIDTH, 2 * WIDTH)), 3)


def sharded():
    model = whole()
    for block in model:
        fully_shard(block, mesh=MESH)
    return fully_shard(model, mesh=MESH)


def sharded_flat():
    return FullyShardedDataParallel(whole(), device_id=torch.device("cpu"))


def parallel():
    model = whole()
    for block in model:
        parallelize_module(block, MESH, PLAN)
    return model


def split_output():
    torch.manual_seed(0)
    return parallelize_module(nn.Linear(WIDTH, WIDTH), MESH, ColwiseParallel())


class Around(nn.Module):
    """Blocks with a path around all of them, of which each rank holds the factors of one half."""

    def __init__(self, gate):
        super().__init__()
        self.body = whole()
        self.register_buffer("gate", torch.full((WIDTH // 2,), gate))

    def forward(self, x):
        own = x.chunk(2, 1)[RANK] * self.gate
        rest = torch.zeros_like(own)
        both = all_reduce(torch.cat([rest, own] if RANK else [own, rest], 1))
        return self.body(x) + both


def summed_behind_autograd(x):
    y = torch.tanh(x) * (RANK + 1)
    dist.all_reduce(y)
    return x + y


class WrongOnOneRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return (2.0 + RANK) * grad


def wrong_on_one_rank(x):
    return WrongOnOneRank.apply(parallel()(x))


def spectrum_of(f):
    generator = torch.Generator().manual_seed(0)
    J = JacobianOperator(f, X)
    spectrum = singular_spectrum(J, "lanczos", num_matvecs=16, generator=generator)
    return spectrum.values.tolist()


def dense(f):
    J = JacobianOperator(f, X)
    eye = torch.eye(WIDTH)
    gaps = [J.to_dense() - J @ eye, J.to_dense() - (J.T @ eye).T]
    return {
        "J": J.to_dense().tolist(),
        "gap": max(float(gap.abs().max()) for gap in gaps),
        "route": J.route,
    }


def own_probe():
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(RANK))


def traces(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [trace.c for trace in block_traces(residual_blocks(model, X), generator=generator)]


def names(model):
    return [block.name for block in residual_blocks(model, X)]


def diagnosis(model):
    found = diagnose(model, X, generator=torch.Generator().manual_seed(0))
    return found.c, found.spectrum.values.tolist(), str(found)


def state(model):
    return [
        (
            getattr(p, "to_local", p.clone)().tolist(),
            p.requires_grad,
            p.grad is None,
            type(p).__name__,
        )
        for p in model.parameters()
    ]


def untouched(model):
    before, random = state(model), torch.get_rng_state()
    dense(model)
    return state(model) == before and torch.equal(torch.get_rng_state(), random)


def trained(*, measure):
    model = sharded()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    if measure:
        dense(model)
    for step in range(3):
        model(X + step).square().sum().backward()
        if measure:
            dense(model)
        optimizer.step()
        optimizer.zero_grad()
    return [p.full_tensor().tolist() for p in model.parameters()]


def after_a_step():
    model = sharded()
    J = JacobianOperator(model, X)
    model(X).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return J @ torch.ones(WIDTH)


def with_nan_on_one_rank():
    model = sharded()
    with torch.no_grad():
        next(model.parameters()).to_local()[0] = float("nan") if RANK == 0 else 0.0
    return dense(model)


def after_a_wrong_dtype():
    model = sharded()
    try:
        JacobianOperator(model, X.double())
    except TypeError:
        return dense(model)


CASES = {
    "factors of 0 on one rank": lambda: names(Around(0.1 * RANK)),
    "factors of 0 on both": lambda: names(Around(0.0)),
    "whole, dense": lambda: dense(whole()),
    "whole, lanczos": lambda: spectrum_of(whole()),
    "whole, traces": lambda: traces(whole()),
    "whole, diagnosed": lambda: diagnosis(whole()),
    "sharded, dense": lambda: dense(sharded()),
    "sharded, lanczos": lambda: spectrum_of(sharded()),
    "sharded, traces": lambda: traces(sharded()),
    "sharded, diagnosed": lambda: diagnosis(sharded()),
    "sharded, untouched": lambda: untouched(sharded()),
    "sharded, tape": lambda: JacobianOperator(sharded(), X, route="tape"),
    "sharded, other x": lambda: JacobianOperator(sharded(), X + RANK),
    "sharded, other operand": lambda: JacobianOperator(sharded(), X) @ own_probe(),
    "sharded, after a step": after_a_step,
    "sharded, NaN": with_nan_on_one_rank,
    "sharded, after an error": after_a_wrong_dtype,
    "sharded, block products": lambda: residual_blocks(sharded(), X)[0].jvp(X[None]),
    "sharded as one, diagnosed": lambda: diagnosis(fully_shard(whole(), mesh=MESH)),
    "sharded flat": lambda: JacobianOperator(sharded_flat(), X),
    "trained": lambda: trained(measure=False),
    "trained and measured": lambda: trained(measure=True),
    "parallel, dense": lambda: dense(parallel()),
    "parallel, lanczos": lambda: spectrum_of(parallel()),
    "parallel, traces": lambda: traces(parallel()),
    "parallel, untouched": lambda: untouched(parallel()),
    "parallel, other operand": lambda: JacobianOperator(parallel(), X).T @ own_probe(),
    "parallel, other probe": lambda: residual_blocks(parallel(), X)[0].vjp(own_probe()[None, None]),
    "split output": lambda: JacobianOperator(split_output(), X),
    "wrong on one rank": lambda: JacobianOperator(wrong_on_one_rank, X),
    "summed behind autograd": lambda: JacobianOperator(summed_behind_autograd, X),
}


def result_of(case):
    try:
        return case()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    with joined() as (_, answer):
        MESH = init_device_mesh("cpu", (2,))
        answer({name: result_of(case) for name, case in CASES.items()})
