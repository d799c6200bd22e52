import os
import subprocess
import sys

import pytest
import torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed"),
]

WORKER = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel, RowwiseParallel, parallelize_module,
)
from isometry.nn.jacobian import JacobianOperator

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))
x = torch.randn(1, 6)
expected = JacobianOperator(model, x).to_dense()
if sys.argv[3] == "sharded":
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
else:
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    model = parallelize_module(model, mesh, plan)
J = JacobianOperator(model, x)
torch.testing.assert_close(J.to_dense(), expected)
torch.testing.assert_close(J @ torch.eye(6), expected)
assert all(p.requires_grad and p.grad is None for p in model.parameters())
model(x).square().sum().backward()
assert all(p.grad is not None for p in model.parameters())
print(J.route)
dist.destroy_process_group()
"""


@pytest.mark.parametrize(
    ("kind", "route"), [("sharded", "J v by forward mode"), ("tensor parallel", "J v by the rows")]
)
def test_two_processes_measure_the_jacobian_of_one(tmp_path, kind, route):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path / "store"), kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    results = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], results[0][1]
    # A second backward is missing (sharded) or wrong (tensor parallel): another route is taken.
    assert all(route in out for out, _ in results)
