import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cases_cli import run

CONFIG = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
          "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 50}  # fmt: skip
MODULE = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
    def forward(self, x):
        return x + self.b(torch.tanh(self.a(x)))

def make():
    return nn.Sequential(*(Block() for _ in range(3)))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return f"hf:{path}"


def test_a_configuration_becomes_a_table_and_a_sentence(config, capsys):
    status, out, err = run(f"stream {config} --seq 8", capsys)
    assert status == 0, err
    assert "layers.2.mlp" in out
    assert "6 residual blocks in 3 layers, c = " in " ".join(out.split())


def test_json_is_the_same_on_every_run(config, capsys, tmp_path):
    first = run(f"stream {config} --seq 8 --json --out {tmp_path}/run", capsys)[1]
    again = run(f"stream {config} --seq 8 --json --out {tmp_path}/run", capsys)[1]
    assert json.loads(first)["c"] > 0
    assert again == first


def test_a_model_of_one_s_own_takes_an_input(tmp_path, capsys, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(MODULE)
    torch.save(torch.linspace(-1, 1, 16).reshape(2, 8), "x.pt")
    status, out, _ = run("stream own.py:make --input x.pt --recipe he", capsys)
    assert status == 0
    assert "3 residual blocks in 3 layers" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [("", "`--seq` is None; expected `--seq`"), ("--seq 0", "`--seq` is 0; expected `--seq`"),
     ("--seq 8 --recipe gpt3", "`--recipe` is 'gpt3'"),
     ("--seq 8 --weights nowhere", "`--weights` is nowhere; expected a folder"),
     ("--seq 8 --num-probes 2", "`--num-probes` is 2"),
     ("--seq 8 --blocks layer", "`--blocks` has 'layer'")],
)  # fmt: skip
def test_wrong_use_is_one_sentence(config, capsys, words, message):
    status, _, err = run(f"stream {config} {words}", capsys)
    assert status == 2
    assert message in err


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on_with_the_same_bits(config, tmp_path):
    def command(name):
        words = [sys.executable, "-m", "isometry", "stream", config, "--seq", "8", "--json"]
        return subprocess.Popen([*words, "--out", str(tmp_path / name)], stdout=subprocess.PIPE)

    expected = command("whole").communicate()[0]
    killed = command("killed")
    while not (tmp_path / "killed" / "0000").exists():
        time.sleep(0.001)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert command("killed").communicate()[0] == expected
    for path in (tmp_path / "whole").rglob("*.*"):
        assert (tmp_path / "killed" / path.relative_to(tmp_path / "whole")).read_bytes() == (
            path.read_bytes()
        )
