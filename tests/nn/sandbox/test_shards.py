import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial

from cases_shards import Tokens, pretending, shard
from isometry.nn.sandbox.shards import held_indices


# Without a plan for tensor parallelism, which sends the shards around: test_draw.py has those.
@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_places_are_those_of_the_values_that_a_rank_holds(world):
    for rank in range(world):
        with pretending(rank, world):
            model = Tokens()
            with torch.no_grad():
                for p in model.parameters():
                    p.copy_(torch.arange(p.numel()).reshape(p.shape))
            for name, p in shard(model, {"dp": world}).named_parameters():
                places = held_indices(p)
                grids = [
                    np.arange(n) if o is None else o for n, o in zip(p.shape, places, strict=True)
                ]
                numbers = np.arange(p.numel()).reshape(p.shape)[np.ix_(*grids)]
                assert np.array_equal(numbers, p.to_local().detach().numpy()), name


def test_a_whole_tensor_has_all_places():
    assert held_indices(nn.Linear(2, 3).weight) == [None, None]


def test_a_sum_over_processes_has_no_entries():
    with pretending(0, 2):
        mesh = init_device_mesh("cpu", (2,))
        part = DTensor.from_local(torch.ones(2), mesh, [Partial()])
        with pytest.raises(NotImplementedError, match="Redistribute it first"):
            held_indices(part)
