"""Run by torchrun on two processes: a sharded model has the spectrum of the whole one."""

import copy
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from cases_models import Residual, mlp, stack
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.spectrum.spectrum import singular_spectrum


def spectrum(model, x):
    generator = torch.Generator().manual_seed(0)
    J = JacobianOperator(model, x)
    dense = singular_spectrum(J, "dense")
    lanczos = singular_spectrum(J, "lanczos", num_matvecs=30, generator=generator)
    return torch.from_numpy(dense.values), torch.from_numpy(lanczos.values)


def main():
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model, x = stack(lambda: Residual(mlp(24, 48)), 4), torch.randn(1, 24)
    expected = spectrum(copy.deepcopy(model), x)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for block in model:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    before = {name: p.to_local().clone() for name, p in model.named_parameters()}
    received = spectrum(model, x)
    for one, other in zip(expected, received, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    for name, p in model.named_parameters():
        assert torch.equal(p.to_local(), before[name]), name
        assert p.requires_grad, name
        assert p.grad is None, name
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.write("same spectrum\n")


if __name__ == "__main__":
    main()
