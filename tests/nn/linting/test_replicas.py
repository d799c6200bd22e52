import pytest
import torch

from cases_ranks import together

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch without distributed"
)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return together("lint_worker.py", 2, tmp_path_factory.mktemp("ranks"))


def named(found, rule):
    return [parameter for parameter, by, *_ in found["findings"] if by == rule]


@pytest.mark.parametrize("kind", ["sharded", "parallel"])
def test_shards_have_the_roles_and_the_findings_of_the_whole_model(ranks, kind):
    for rank in ranks:
        whole, spread = rank["whole"], rank[kind]
        assert spread["roles"] == whole["roles"]
        assert named(spread, "role-scale") == named(whole, "role-scale") == ["layers.1.up.weight"]
        assert named(spread, "replicas") == []
        assert "shapes only" in spread["remark"]


def test_every_rank_says_the_same(ranks):
    assert ranks[0] == ranks[1]


def test_a_sharded_model_stays_as_it_is(ranks):
    assert [rank["untouched"] for rank in ranks] == [True, True]


def test_copies_that_differ_by_a_thousandth_are_an_error_and_equal_ones_are_none(ranks):
    for rank in ranks:
        assert named(rank["equal copies"], "replicas") == []
        assert named(rank["unequal copies"], "replicas") == ["layers.2.gate.weight"]
        assert named(rank["equal replicas"], "replicas") == []
        assert named(rank["unequal replicas"], "replicas") == ["weight"]
        said = [f for f in rank["unequal replicas"]["findings"] if f[1] == "replicas"]
        assert said[0][2] == "error"
        assert "on 2 ranks differ" in said[0][3]
