"""Models sharded over pretended processes: each rank in turn, alone, without communication."""

from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.testing._internal.distributed.fake_pg import FakeStore


class Branch(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Tokens(nn.Module):
    def __init__(self, width=22, depth=2, words=19):
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=0)
        self.layers = nn.ModuleList(Branch(width) for _ in range(depth))
        self.head = nn.Linear(width, words, bias=False)

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


IDS = torch.arange(6)[None]


@contextmanager
def pretending(rank, world_size):
    dist.init_process_group("fake", rank=rank, world_size=world_size, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def shard(model, sizes):
    """Shard a model over a mesh: {"dp": n}, {"tp": n}, or both.

    The names hold the rank: torch takes meshes that are equal for one, with one rank's place.
    """
    rank = dist.get_rank()
    names = {key: f"{key} {rank}" for key in sizes}
    mesh = init_device_mesh("cpu", tuple(sizes.values()), mesh_dim_names=tuple(names.values()))
    if "tp" in sizes:
        for layer in model.layers:
            parallelize_module(
                layer, mesh[names["tp"]], {"up": ColwiseParallel(), "down": RowwiseParallel()}
            )
    if "dp" in sizes:
        for layer in model.layers:
            fully_shard(layer, mesh=mesh[names["dp"]])
        fully_shard(model, mesh=mesh[names["dp"]])
    return model
