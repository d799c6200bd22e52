import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from isometry.nn.init.init import apply_, plan
from isometry.nn.init.schemes import normal_
from isometry.nn.networks.resnet import ResNet
from isometry.theory.propagation import ResNetSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_available(), reason="torch without distributed"),
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network():
    return ResNet(ResNetSpec("tanh", depth=3, sigma_b=0.1), 32, generator=seeded(7))


def perceptron():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(Skip(), Skip())


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(32, 32)

    def forward(self, x):
        return x + torch.tanh(self.map(x))


def point():
    return torch.randn(8, 32, generator=seeded(3))


def weights(model):
    return {
        name: (p.full_tensor() if hasattr(p, "full_tensor") else p).detach().clone()
        for name, p in model.named_parameters()
    }


def initialised(model, build):
    return weights(apply_(model, plan(build(), point(), generator=seeded(5))))


def work(rank, port, folder):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard, distribute_tensor

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (2,))
        found = {}
        for name, build in (("theory", network), ("data", perceptron)):
            model = fully_shard(build(), mesh=mesh)
            with pytest.raises(NotImplementedError, match="sharded by one `fully_shard"):
                plan(model, point(), generator=seeded(5))
            found |= {f"{name}.{key}": w for key, w in initialised(model, build).items()}
        sharded = distribute_tensor(torch.zeros(6, 4), mesh, [Shard(0)])
        found["scheme"] = normal_(sharded, generator=seeded(2)).full_tensor()
        torch.save(found, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_two_processes_get_the_numbers_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(work, (port, str(tmp_path)), nprocs=2, start_method="spawn")
    expected = {"scheme": normal_(torch.zeros(6, 4), generator=seeded(2))}
    for name, build in (("theory", network), ("data", perceptron)):
        expected |= {f"{name}.{key}": w for key, w in initialised(build(), build).items()}
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == expected.keys()
        for key, w in expected.items():
            torch.testing.assert_close(found[key], w, rtol=1e-6, atol=1e-8)
    W = expected["scheme"]
    assert not torch.equal(W[:3], W[3:])  # ranks do not repeat each other's rows
