import contextlib
import pathlib

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from cases_modules import Residual, mlp, stack
from cases_ranks import together
from cases_scale import DEPTH, Layer, batch, numbers, whole_model
from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.traces import block_traces, measured_law
from isometry.nn.scale.scale import measure_scale

TESTS = pathlib.Path(__file__).parent.parent.parent
needs_ranks = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch without distributed"
)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return together("scale_worker.py", 2, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return together("scale_worker.py", 4, tmp_path_factory.mktemp("four"))


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    return together("scale_worker.py", 8, tmp_path_factory.mktemp("eight"))


@pytest.fixture(scope="module")
def dense():
    return numbers(measure_scale(whole_model(), batch(), seed=3))


def agree(found, expected):
    assert not isinstance(found, str), found
    assert found["names"] == expected["names"]
    assert found["size"] == expected["size"]
    # Sums of float32 over another number of terms at a time; the parts are of the size of v.
    for one, other in zip(found["blocks"], expected["blocks"], strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-6)
    for key in ("c", "log_scale", "growth"):
        assert found[key] == pytest.approx(expected[key], rel=1e-5, abs=1e-6)


@needs_ranks
@pytest.mark.parametrize("kind", ["dp", "tp", "pp", "sequence", "distributed"])
def test_two_processes_measure_what_one_does(two, dense, kind):
    for rank in two:
        agree(rank[kind], dense)


@needs_ranks
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dp tp", "pp dp", "pp tp"])
def test_four_processes_measure_what_one_does(four, dense, kind):
    for rank in four:
        agree(rank[kind], dense)


@needs_ranks
@pytest.mark.slow
def test_eight_processes_that_shard_in_all_three_ways_measure_what_one_does(eight, dense):
    for rank in eight:
        agree(rank["dp tp pp"], dense)


@needs_ranks
def test_measuring_between_the_steps_of_sharded_training_changes_nothing(two):
    for rank in two:
        assert rank["trained and measured"] == rank["trained"]


@needs_ranks
def test_ranks_that_hold_other_streams_are_told_so(two):
    for rank in two:
        assert rank["other x"].startswith("ValueError: The ranks of `tp` hold other parts")


@needs_ranks
def test_weights_are_gathered_once_a_layer_and_pass(two):
    # one in the pass without gradients and one for all products, a layer; one reduction
    assert two[0]["gathers"] == {"allgather_base": 2 * DEPTH, "allreduce": 1}


@needs_ranks
def test_weights_that_are_gathered_in_sixteen_bits_are_measured_so(two, dense):
    # 8 bits: products err by 2^-9 an entry, and the stream by as much before each block
    assert two[0]["mixed"]["c"] == pytest.approx(dense["c"], rel=0.03)
    assert two[0]["mixed"]["c"] != pytest.approx(dense["c"], rel=1e-5)


def test_the_blocks_are_those_of_the_whole_model_and_their_law():
    model, x = whole_model(torch.float64), batch()
    point = model.embedding(x).detach()
    model.embedding = nn.Identity()
    blocks = residual_blocks(model, point)
    law = measured_law(block_traces(blocks, rtol=0.02, generator=torch.Generator().manual_seed(0)))
    report = measure_scale(model, point, num_probes=64)
    assert [b.name for b in report.blocks] == [b.name for b in blocks]
    error = 5 * (law.c_standard_error**2 + report.c_standard_error**2) ** 0.5
    assert report.c == pytest.approx(law.c, abs=error)
    assert error < 0.1 * law.c


def test_the_model_is_left_as_it_was():
    model = whole_model()
    model(batch()).sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    before = torch.get_rng_state()
    measure_scale(model, batch())
    assert torch.equal(torch.get_rng_state(), before)
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        assert p.requires_grad
        assert torch.equal(p.grad, gradient)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_compiled_layers_are_measured_as_plain_ones(dense):
    model = whole_model()
    for layer in model.layers.values():
        layer.compile(backend="aot_eager")  # "eager" leaves the graph that autograd sees
    agree(numbers(measure_scale(model, batch(), seed=3)), dense)


def test_a_cast_model_is_measured_as_it_trains():
    model, x = whole_model(), batch()
    plain = measure_scale(model, x, num_probes=16)
    with torch.autocast("cpu", torch.bfloat16):
        cast = measure_scale(model, x, num_probes=16)
    narrow = measure_scale(model.bfloat16(), x, num_probes=16)
    # 8 bits: products err by 2^-9 an entry, and the stream in bfloat16 by as much before each
    assert cast.c == pytest.approx(plain.c, rel=0.02)
    assert cast.c != plain.c
    assert narrow.c == pytest.approx(plain.c, rel=0.03)


def test_a_model_that_is_no_list_of_layers_is_one_layer():
    model = Layer()
    x = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    assert [b.name for b in measure_scale(model, x).blocks] == ["attention", "mlp"]


def test_a_random_layer_is_refused():
    class Noisy(nn.Linear):
        def forward(self, x):
            return x + super().forward(x) + torch.randn_like(x)

    model = stack(lambda: Noisy(8, 8), 2)
    with pytest.raises(ValueError, match=r"block '0' gives different results.*model.eval"):
        measure_scale(model, torch.ones(2, 8))


def test_a_model_without_layers_is_refused():
    with pytest.raises(ValueError, match=r"`model` has no layer.*`blocks=`"):
        measure_scale(nn.Linear(3, 4), torch.ones(1, 3))


def test_a_ten_percent_wrong_block_is_seen():
    model = stack(lambda: Residual(mlp(64, 64)), 4)
    x = torch.randn(4, 64)
    before = measure_scale(model, x).c
    with torch.no_grad():
        for block in model:
            block.body[-1].weight.mul_(1.1)
    assert measure_scale(model, x).c / before == pytest.approx(1.21, rel=0.03)


class Added(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp(8, 16)

    def forward(self, x):
        return x + self.body(x)


@contextlib.contextmanager
def fake_group(size):
    """Be the first rank of a process group that sends nothing."""
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    store = fake.FakeStore()
    torch.distributed.init_process_group("fake", rank=0, world_size=size, store=store)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


@needs_ranks
@pytest.mark.parametrize("name", ["tp", "ep"])
def test_a_model_whose_experts_are_spread_over_ranks_is_refused(name):
    model, x = stack(lambda: Residual(mlp(8, 8)), 2), torch.ones(2, 8)
    with fake_group(2):
        mesh = init_device_mesh("cpu", (2,), mesh_dim_names=(name,))
        for layer in model:
            plan = {"body.0": ColwiseParallel(), "body.2": RowwiseParallel()}
            parallelize_module(layer, mesh, plan)
        if name == "tp":
            assert len(measure_scale(model, x).blocks) == 2
            return
        with pytest.raises(NotImplementedError, match=r"`model` is on a mesh that has .*'ep'"):
            measure_scale(model, x)


# Every operation is done for each of 32 ranks: 4 that copy the model, each in 8 parts.
@needs_ranks
def test_thirty_two_ranks_in_one_process_measure_what_one_does():
    local = pytest.importorskip("torch.distributed._local_tensor")
    torch.manual_seed(0)
    model, x = stack(Added, 2), torch.randn(2, 8)
    expected = numbers(measure_scale(model, x, num_probes=3))
    plan = {"body.0": ColwiseParallel(), "body.2": RowwiseParallel()}
    with fake_group(32), local.LocalTensorMode(32):
        mesh = init_device_mesh("cpu", (4, 8), mesh_dim_names=("copies", "tp"))
        for layer in model:
            parallelize_module(layer, mesh["tp"], plan)
        agree(numbers(measure_scale(model, x, mesh=mesh, num_probes=3)), expected)
        other = local.LocalTensor({rank: x + 0.1 * rank for rank in range(32)})
        with pytest.raises(ValueError, match="The ranks of `copies` hold other parts"):
            measure_scale(model, other, mesh=mesh, num_probes=3)
