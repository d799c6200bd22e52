import sys
from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from isometry.nn.sandbox.ranks import Ranks, _digest, refuse_flat_shards, shard_again


def test_one_process_has_nobody_to_agree_with():
    ranks = Ranks()
    assert not ranks
    assert ranks.agree(True, torch.device("cpu"))
    assert not ranks.agree(False, torch.device("cpu"))
    ranks.check_point(torch.ones(2), torch.zeros(2))


def test_a_digest_tells_sizes_norms_and_orders_apart():
    x = torch.arange(4.0)
    others = (x[:3], 2 * x, x.flip(0), x + 1)
    assert torch.equal(_digest(x), _digest(x.clone()))
    assert not any(torch.allclose(_digest(x), _digest(other)) for other in others)


def pair():
    return distributed.ProcessGroup(0, 2)


def meshed(*groups):
    parameter = torch.ones(1)
    parameter.device_mesh = SimpleNamespace(get_all_groups=lambda: groups)
    return parameter


@pytest.fixture
def other(monkeypatch):
    """What the other process of every pair brings to a reduction; the same as this one at first."""
    said = SimpleNamespace(of=lambda tensor: tensor)

    def all_reduce(tensor, op, group):
        least = op == distributed.ReduceOp.MIN
        tensor.copy_((torch.minimum if least else torch.maximum)(tensor, said.of(tensor)))

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    return said


def test_groups_of_a_mesh_are_kept_once_and_those_of_one_process_not():
    ranks, group = Ranks(), pair()
    ranks.adopt([torch.ones(1), meshed(group, group), meshed(distributed.ProcessGroup(0, 1))])
    assert ranks
    assert ranks._groups == [group]


def test_flags_count_where_every_process_sets_them(other):
    ranks, cpu = Ranks(), torch.device("cpu")
    assert ranks.all_of([True, False], cpu) == [True, False]
    ranks.adopt([meshed(pair())])
    assert ranks.all_of([True, False, True], cpu) == [True, False, True]
    other.of = lambda t: torch.tensor([1.0, 1.0, 0.0]) if t.is_floating_point() else t
    assert ranks.all_of([True, False, True], cpu) == [True, False, False]
    other.of = lambda t: t if t.is_floating_point() else torch.tensor([4, -4])
    assert ranks.all_of([True, False, True], cpu) == [False, False, False]


def test_the_group_of_a_collective_is_noted(monkeypatch):
    group, ranks = pair(), Ranks()
    ranks.note(torch.ops.aten.add.Tensor, (group.boxed(),))
    assert not ranks
    ranks.note(torch.ops.c10d.allreduce_.default, (torch.ones(1), 3, group.boxed()))
    assert len(ranks._groups) == 1
    functional, named = torch.ops._c10d_functional.all_reduce.default, pair()
    monkeypatch.setattr(
        distributed.distributed_c10d, "_resolve_process_group", {"tp": named}.__getitem__
    )
    ranks.note(functional, (torch.ones(1), "sum", 7))  # no name: waiting for a result
    ranks.note(functional, (torch.ones(1), "sum", "tp"))
    assert ranks._groups[1] is named


def test_processes_agree_where_all_accept(other):
    ranks = Ranks()
    ranks.adopt([meshed(pair())])
    assert ranks.agree(True, torch.device("cpu"))
    other.of = torch.zeros_like
    assert not ranks.agree(True, torch.device("cpu"))


def test_what_differs_between_processes_is_named_with_the_remedy(other):
    ranks, x = Ranks(), torch.arange(1.0, 5.0)
    ranks.adopt([meshed(pair())])
    ranks.check_point(x, 2 * x)
    ranks.check_same_operand(x)
    theirs = _digest(x + 1e-3)
    other.of = lambda mine: torch.stack([theirs, -theirs]).to(mine)
    with pytest.raises(ValueError, match=r"`x` differs between the processes.*Broadcast it"):
        ranks.check_point(x, 2 * x)
    with pytest.raises(ValueError, match=r"The operand differs.*the same seed on every rank"):
        ranks.check_same_operand(x)
    theirs = _digest(x * (1 + 1e-8))  # rounding on unlike machines
    ranks.check_same_operand(x)
    with pytest.raises(ValueError, match="differs"):
        ranks.check_same_operand(torch.full((4,), float("nan")))


def test_gathered_weights_are_freed_and_flat_shards_refused(monkeypatch):
    class Sharded(torch.nn.Module):
        freed = False

        def reshard(self):
            self.freed = True

    class Flat(torch.nn.Module):
        pass

    fsdp = SimpleNamespace(FSDPModule=Sharded, FullyShardedDataParallel=Flat)
    monkeypatch.setitem(sys.modules, "torch.distributed.fsdp", fsdp)
    module = Sharded()
    shard_again([torch.nn.Linear(1, 1), module])
    assert module.freed
    refuse_flat_shards(module)
    with pytest.raises(NotImplementedError, match="expected FSDP2"):
        refuse_flat_shards(Flat())
