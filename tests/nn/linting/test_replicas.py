import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch

TESTS = pathlib.Path(__file__).parent.parent.parent
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch without distributed"
)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    workers = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "lint_worker.py"), str(rank), str(folder)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment | {"GLOO_SOCKET_IFNAME": "lo"},
        )
        for rank in range(2)
    ]
    try:
        said = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], said[0][-2000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


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
