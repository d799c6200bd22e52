import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest

from cases_cli import run

TESTS = pathlib.Path(__file__).parent.parent
MODEL = """
import os, signal, time
import torch
from torch import nn
from cases_scale import whole_model


class Ending(nn.Module):
    def __init__(self, layer, end):
        super().__init__()
        self.layer, self.end = layer, end

    def forward(self, x):
        if os.environ.get("RANK") == os.environ.get("VICTIM"):
            self.end()
        return self.layer(x)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def hanging():
    time.sleep(1000)


def ending(end):
    model = whole_model()
    model.layers["2"] = Ending(model.layers["2"], end)
    return model


def make():
    return whole_model()


def make_killed():
    return ending(killed)


def make_hanging():
    return ending(hanging)


def make_on(mesh):
    raise AssertionError


def make_model(mesh):
    from scale_worker import parallel_layers, sharded_layers, staged

    model = whole_model()
    stage = staged(model, mesh["pp"])
    parallel_layers(model, mesh["tp"])
    sharded_layers(model, mesh["dp"])
    return stage
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "sized.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    return tmp_path


def ranks(words, folder, count=2, **more):
    """Start the command on several ranks, as torchrun would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    own = {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)} | more
    return [
        subprocess.Popen(
            [sys.executable, "-m", "isometry", "scale", *words.split()],
            cwd=folder,
            env=os.environ | own | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def test_one_process_prints_a_table_and_writes_the_report(folder, capsys):
    words = "scale sized.py:make --input tokens:2x6 --save out.json"
    status, out, err = run(words, capsys)
    assert status == 0, err
    assert "layers.3.mlp" in out
    assert "Near dynamical isometry" in out
    found = json.loads((folder / "out.json").read_text())
    assert len(found["blocks"]) == 8
    assert f"c = {found['c']:.4g}" in out


@pytest.mark.parametrize(("wanted", "expected"), [(0.3, 0), (1.0, 1)])
def test_the_status_says_whether_the_initialisation_landed(folder, capsys, wanted, expected):
    words = f"scale sized.py:make --input tokens:4x6 --json --c {wanted}"
    status, out, _ = run(words, capsys)
    assert status == expected
    assert json.loads(out)["c"] == pytest.approx(0.29, abs=0.03)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--input tokens --mesh dp=2,tp=2", "`--mesh` is of 4 ranks and 1 started"),
        ("--input tokens --mesh dp=0", "`--mesh` has a dimension of 0 ranks"),
        ("--input tokens:0x8", "`--input` is tokens:0x8; expected at least one sequence"),
        ("--input tokens --timeout 0", "`--timeout` is 0.0; expected a finite number > 0"),
        ("--input tokens --timeout inf", "`--timeout` is inf; expected a finite number > 0"),
        ("--input tokens --timeout 1e300", "`--timeout` is 1e+300; expected at most 1e+06"),
        ("--input tokens --c -1", "`--c` is -1.0; expected a finite number >= 0"),
        ("--input tokens --blocks a b", "`b` is one word too many; expected one value behind"),
        ("--input tokens --mesh dp:2", "`--mesh` is 'dp:2'; expected names and numbers"),
        ("--input nothing.pt", "`--input` is nothing.pt; expected an existing file"),
        ("--input tokens --save no/out.json", "`--save` is no/out.json; expected a file"),
        ("--input tokens --blocks layers.9", "`--blocks` contains 'layers.9', which is no module"),
    ],
)
def test_wrong_use_is_one_sentence(folder, capsys, words, message):
    status, _, err = run(f"scale sized.py:make {words}", capsys)
    assert status == 2
    assert message in err


def test_two_ranks_share_the_batch_and_one_prints(folder, capsys):
    words = "sized.py:make --input tokens:4x6 --json"
    workers = ranks(f"{words} --mesh dp=2 --save out.json", folder)
    said = [worker.communicate(timeout=200) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert said[1][0] == ""
    _, alone, _ = run(f"scale {words}", capsys)
    assert json.loads(said[0][0])["c"] == pytest.approx(json.loads(alone)["c"], rel=1e-5)
    assert (folder / "out.json").read_text() == said[0][0]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_eight_ranks_shard_in_all_three_ways_and_one_prints(folder, capsys):
    words = "--input tokens:4x6 --json"
    workers = ranks(f"sized.py:make_model {words} --mesh dp=2,tp=2,pp=2", folder, 8)
    said = [worker.communicate(timeout=400) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 8, said
    assert [out for out, _ in said[1:]] == [""] * 7
    _, alone, _ = run(f"scale sized.py:make {words}", capsys)
    found, expected = json.loads(said[0][0]), json.loads(alone)
    assert [b["name"] for b in found["blocks"]] == [b["name"] for b in expected["blocks"]]
    assert found["c"] == pytest.approx(expected["c"], rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "victim"),
    [
        ("killed", 1),
        pytest.param("killed", 0, marks=pytest.mark.slow),
        pytest.param("hanging", 1, marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_is_lost_ends_the_others_with_a_sentence(folder, kind, victim):
    words = f"sized.py:make_{kind} --input tokens:2x6 --mesh dp=2 --save out.json --timeout 5"
    workers = ranks(words, folder, VICTIM=str(victim))
    started = time.monotonic()
    try:
        _, err = workers[1 - victim].communicate(timeout=200)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert workers[1 - victim].returncode == 2
    assert f"error: Rank {1 - victim} of 2 lost the others" in err
    assert err.strip().count("\n") <= 3, err
    assert time.monotonic() - started < 150
    assert sorted(p.name for p in folder.iterdir() if p.suffix == ".json") == []


def test_a_function_of_the_mesh_is_asked_for(folder):
    workers = ranks("sized.py:make --input tokens --mesh tp=2", folder)
    for worker in workers:
        _, err = worker.communicate(timeout=200)
        assert worker.returncode == 2
        assert "takes no mesh, and the mesh has tp" in err
