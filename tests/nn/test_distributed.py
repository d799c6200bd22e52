import pytest
import torch
from torch import nn

from cases_ranks import together
from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.jacobian.jacobian import JacobianOperator

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch without distributed"
)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return together("distributed_worker.py", 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
def test_ranks_see_the_same_blocks_where_one_of_them_holds_factors_of_0(ranks):
    for rank in ranks:
        # Nothing comes through along the path around all blocks: then it is none.
        assert len(rank["factors of 0 on both"]) == 3
        assert rank["factors of 0 on one rank"] == ["body"]


# Sums over another number of terms at a time: a few roundings of float32 apart.
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sharded", "parallel"])
@pytest.mark.parametrize("number", ["lanczos", "traces"])
def test_two_processes_measure_what_one_does(ranks, kind, number):
    for rank in ranks:
        expected, got = rank[f"whole, {number}"], rank[f"{kind}, {number}"]
        assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "route"), [("sharded", "forward mode"), ("parallel", "by the rows")]
)
def test_two_processes_have_the_jacobian_of_one(ranks, case, route):
    for rank in ranks:
        expected, got = rank["whole, dense"], rank[f"{case}, dense"]
        torch.testing.assert_close(torch.tensor(got["J"]), torch.tensor(expected["J"]))
        assert got["gap"] < 1e-5
        # A second backward is missing (sharded) or wrong (parallel): another route is taken.
        assert route in got["route"]


@pytest.mark.slow
def test_a_sharded_model_is_diagnosed_as_the_whole_one(ranks):
    for rank in ranks:
        c, values, _ = rank["whole, diagnosed"]
        assert rank["sharded, diagnosed"][0] == pytest.approx(c, rel=1e-5)
        assert rank["sharded, diagnosed"][1] == pytest.approx(values, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["dense", "lanczos", "traces", "diagnosed"])
@pytest.mark.parametrize("kind", ["sharded", "parallel"])
def test_every_rank_gets_the_same_result(ranks, kind, case):
    first, second = (rank.get(f"{kind}, {case}") for rank in ranks)
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sharded", "parallel"])
def test_measuring_leaves_the_weights_and_the_generator_alone(ranks, kind):
    assert [rank[f"{kind}, untouched"] for rank in ranks] == [True, True]


@pytest.mark.slow
def test_measuring_between_the_steps_does_not_change_the_training(ranks):
    assert ranks[0]["trained and measured"] == ranks[0]["trained"]


@pytest.mark.slow
def test_a_sharded_model_can_be_measured_after_a_refusal(ranks):
    assert ranks[0]["sharded, after an error"] == ranks[0]["sharded, dense"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("sharded, tape", "NotImplementedError: `route` is 'tape'"),
        ("sharded, other x", "ValueError: `x` differs between the processes"),
        ("sharded, other operand", "ValueError: The operand differs between the processes"),
        ("sharded, after a step", "RuntimeError: The weights of `f` were written to"),
        ("sharded, NaN", "ValueError: `f"),
        ("sharded, block products", "NotImplementedError: The model is computed by several"),
        ("sharded as one, diagnosed", "NotImplementedError: A unit of `fully_shard` holds several"),
        ("sharded flat", "NotImplementedError: `f` is sharded by FullyShardedDataParallel"),
        ("parallel, other operand", "ValueError: The operand differs between the processes"),
        ("parallel, other probe", "ValueError: The operand differs between the processes"),
        ("split output", "ValueError: `f(x)` differs between the processes"),
        ("summed behind autograd", "RuntimeError: `f` changes along a direction v"),
        ("wrong on one rank", "RuntimeError: `f` "),
    ],
)
def test_every_rank_refuses_what_would_be_wrong(ranks, case, message):
    for rank in ranks:
        assert rank[case].startswith(message)


class Offloaded(nn.Linear):
    def forward(self, x):
        stored = self.weight
        self.weight = nn.Parameter(self.kept, requires_grad=stored.requires_grad)
        y = super().forward(x)
        self.weight = nn.Parameter(self.kept.to("meta"), requires_grad=stored.requires_grad)
        return y


def offloaded(*, trainable=True):
    layer = Offloaded(3, 3)
    layer.kept = layer.weight.detach().clone()
    layer.weight = nn.Parameter(layer.kept.to("meta"), requires_grad=trainable)
    return layer


@pytest.mark.parametrize("trainable", [True, False])
def test_an_offloading_layer_keeps_its_flags(trainable):
    layer = offloaded(trainable=trainable)
    J = JacobianOperator(layer, torch.ones(3))
    torch.testing.assert_close(J.to_dense(), layer.kept)
    assert layer.weight.is_meta
    assert layer.weight.requires_grad == trainable
    assert layer.bias.requires_grad


def test_the_blocks_of_an_offloaded_model_are_refused():
    with pytest.raises(NotImplementedError, match="`model` keeps 'weight' offloaded"):
        residual_blocks(offloaded(), torch.ones(1, 3))
