"""Transformers of true size, to be built without memory: dense and with experts, to be sharded."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn import functional


@dataclass(frozen=True)
class Size:
    """A decoder's dimensions: layers, width, heads, heads of keys, hidden width, experts."""

    depth: int
    width: int
    heads: int
    groups: int
    hidden: int
    experts: int = 0
    words: int = 32000


SIZES = {
    "7B": Size(32, 4096, 32, 32, 11008),
    "70B": Size(80, 8192, 64, 8, 28672),
    "8 x 7B, 2 of 8 experts": Size(32, 4096, 32, 8, 14336, experts=8),
    "1.3B": Size(24, 2048, 16, 16, 5504),
}


class Attention(nn.Module):
    """Causal attention with grouped keys; a column-wise plan takes the heads apart."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.each = size.width // size.heads
        self.q = nn.Linear(size.width, size.width, bias=False)
        self.k = nn.Linear(size.width, size.groups * self.each, bias=False)
        self.v = nn.Linear(size.width, size.groups * self.each, bias=False)
        self.out = nn.Linear(size.width, size.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            m(x).unflatten(-1, (-1, self.each)).transpose(1, 2) for m in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Gated(nn.Module):
    """A gated hidden layer."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.gate = nn.Linear(size.width, size.hidden, bias=False)
        self.up = nn.Linear(size.width, size.hidden, bias=False)
        self.down = nn.Linear(size.hidden, size.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Experts(nn.Module):
    """Two experts a token, each with room for its even part and a quarter; the rest is dropped."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.router = nn.Linear(size.width, size.experts, bias=False)
        self.experts = nn.ModuleList(Gated(size) for _ in range(size.experts))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)
        weights, chosen = self.router(tokens).softmax(-1).topk(2)
        room = 1 + len(tokens) * 5 // (2 * len(self.experts))
        result = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            weight = (weights * (chosen == number)).sum(-1)
            order = weight.argsort(descending=True)[:room]
            result = result.index_add(0, order, weight[order, None] * expert(tokens[order]))
        return result.view_as(x)


class Layer(nn.Module):
    """Two residual additions behind root mean square norms."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(size.width), nn.RMSNorm(size.width)
        self.attention = Attention(size)
        self.mlp = Experts(size) if size.experts else Gated(size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    """A decoder from token ids to its last hidden state."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.words, size.width)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.depth))
        self.norm = nn.RMSNorm(size.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def shard(model: Decoder, mesh: DeviceMesh) -> None:
    """Shard over the dimensions tp, by columns and rows, and dp, by FSDP2, where they are there."""
    names = mesh.mesh_dim_names or ()
    columns, rows = ColwiseParallel(), RowwiseParallel()
    plan = {f"attention.{name}": columns for name in "qkv"} | {"attention.out": rows}
    inner = "mlp.experts.*" if isinstance(model.layers[0].mlp, Experts) else "mlp"
    plan |= {f"{inner}.gate": columns, f"{inner}.up": columns, f"{inner}.down": rows}
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    for layer in model.layers:
        if "tp" in names:
            parallelize_module(layer, mesh["tp"], plan)
        if "dp" in names:
            fully_shard(layer, mesh=mesh["dp"], mp_policy=policy)
    if "dp" in names:
        fully_shard(model, mesh=mesh["dp"], mp_policy=policy)
