import math

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from cases_shards import IDS, Tokens, pretending, shard
from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.traces import block_traces
from isometry.nn.init import baselines
from isometry.nn.init.changes import Change, local
from isometry.nn.init.init import apply_, plan, residual_
from isometry.nn.init.measured import MeasuredModel
from isometry.nn.init.sharded import ShardedModel, is_sharded, refuse_strided
from isometry.nn.sandbox.specimen import Specimen

OPTIONS = {"c": 0.5, "blocks": ["layers.0", "layers.1", "layers.2"]}
SIZES = [{"dp": 2}, {"tp": 2}]


def model_of():
    torch.manual_seed(0)
    return Tokens(depth=3).eval()


def generator():
    return torch.Generator().manual_seed(0)


def made(model, **options):
    return plan(model, IDS, generator=generator(), **OPTIONS | options)


def factors(made):
    return torch.tensor([block.factor for block in made.blocks], dtype=torch.float64)


@pytest.fixture
def one_process(tmp_path):
    """A group of one: everything of several processes but company."""
    dist.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def held(model):
    return {name: local(p.detach()).clone() for name, p in model.named_parameters()}


def test_a_sharded_model_gets_the_factors_of_the_whole_one(one_process):
    model = shard(model_of(), {"dp": 1})
    before = held(model)
    found = made(model)
    torch.testing.assert_close(factors(found), factors(made(model_of())), rtol=0.01, atol=0)
    assert all(torch.equal(before[name], value) for name, value in held(model).items())
    assert all(type(p).__name__ == "DTensor" for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_a_plan_that_is_applied_gives_each_block_its_share(one_process):
    model = shard(model_of(), {"dp": 1})
    residual_(model, IDS, generator=generator(), **OPTIONS)
    blocks = residual_blocks(model, IDS, blocks=OPTIONS["blocks"])
    for trace in block_traces(blocks, num_probes=256, generator=generator()):
        assert abs(trace.c - 0.5 / 3) < 5 * trace.standard_error["c"] + 0.02 * 0.5 / 3
    assert made(model).passes == 1


def test_shards_are_put_back_where_planning_fails(one_process, monkeypatch):
    model = shard(model_of(), {"dp": 1})
    before, calls = held(model), []

    def trace(self, block):
        calls.append(block)
        if len(calls) == 5:
            assert any(not torch.equal(before[n], v) for n, v in held(model).items())
            raise KeyboardInterrupt
        return MeasuredModel.trace(self, block)

    monkeypatch.setattr(ShardedModel, "trace", trace)
    with pytest.raises(KeyboardInterrupt):
        made(model)
    assert all(torch.equal(before[name], value) for name, value in held(model).items())


@pytest.mark.parametrize(
    ("options", "what"),
    [({"redraw": True}, "`redraw=True`"), ({"centre": True}, "`centre=True`"),
     ({"method": "theory"}, "`method='theory'`"),
     ({"c": None, "condition_number": 20}, "`condition_number`")],
)  # fmt: skip
def test_what_needs_whole_weights_is_refused(one_process, options, what):
    model = shard(model_of(), {"dp": 1})
    with pytest.raises(NotImplementedError, match=f"{what} needs whole weights"):
        made(model, **options)
    with pytest.raises(NotImplementedError, match="a baseline needs whole weights"):
        baselines.he(model, IDS)


def test_the_remedy_works(one_process):
    whole = model_of()
    found = made(whole, redraw=True)
    model = apply_(shard(model_of(), {"dp": 1}), found)
    apply_(whole, found)
    for name, p in whole.named_parameters():
        assert torch.equal(model.get_parameter(name).full_tensor(), p)


def test_a_zero_map_is_noticed_in_shards(one_process):
    model = model_of()
    with torch.no_grad():
        model.layers[1].down.weight.zero_()
    with pytest.raises(ValueError, match=r"'layers\.1\.down\.weight' at 0 at the end of block"):
        made(shard(model, {"dp": 1}))


def test_changes_that_are_not_written_are_no_stream():
    specimen = Specimen.of(model_of(), IDS)
    model = ShardedModel(specimen, specimen.point, specimen.model, None, None, 0)
    assert not is_sharded(specimen.model)
    with pytest.raises(ValueError, match="Use `under`"):
        model.stream({"a": Change(1.0)})


def test_shards_of_shards_are_refused():
    with pretending(0, 4):
        model = shard(model_of(), {"dp": 2, "tp": 2})
        with pytest.raises(NotImplementedError, match="by FSDP2 over tensor parallelism"):
            refuse_strided(model)
        refuse_strided(shard(model_of(), {"dp": 4}))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_processes_have_the_same_factors_as_one(sizes, tmp_path):
    world = math.prod(sizes.values())
    torch.multiprocessing.spawn(planned, (sizes, tmp_path), nprocs=world)
    expected = factors(made(model_of()))
    ranks = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(world)]
    for found in ranks:
        assert torch.equal(found["factors"], ranks[0]["factors"])
        assert torch.equal(found["up"], ranks[0]["up"])
        # rtol of the plan is 0.02 on c, which goes with the square of the factor
        torch.testing.assert_close(found["factors"], expected, rtol=0.01, atol=0)
        torch.testing.assert_close(
            found["c"], torch.full((3,), 0.5 / 3, dtype=torch.float64), rtol=0.02, atol=0
        )


def planned(rank, sizes, folder):
    dist.init_process_group(
        "gloo", f"file://{folder / 'store'}", rank=rank, world_size=math.prod(sizes.values())
    )
    model = shard(model_of(), sizes)
    found = made(model)
    apply_(model, found)
    after = [block.c_before for block in made(model).blocks]
    weight = model.layers[0].up.weight
    save_file(
        {
            "factors": factors(found),
            "c": torch.tensor(after, dtype=torch.float64),
            "up": weight.full_tensor().detach(),
        },
        folder / f"{rank}.safetensors",
    )
    dist.destroy_process_group()
