import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cases_cli import run

MODULE = """
import torch
from torch import nn

class Skip(nn.Module):
    def __init__(self, zero=False):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16))
        if zero:
            nn.init.zeros_(self.branch[2].weight)
    def forward(self, x):
        return x + self.branch(x)

def residual():
    torch.manual_seed(0)
    return nn.Sequential(*[Skip() for _ in range(4)])

def function():
    model = residual()
    return lambda x: model(x)

class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix, self.branch = nn.Linear(16, 16, bias=False), nn.Linear(16, 16)
    def forward(self, x):
        return self.mix(x) + torch.tanh(self.branch(x))

def mixed():
    torch.manual_seed(0)
    return nn.Sequential(*[Mixed() for _ in range(3)])

def zero():
    return nn.Sequential(Skip(True), Skip(True))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "a_module.py").write_text(MODULE)
    torch.save(torch.linspace(-1, 1, 64).reshape(4, 16), tmp_path / "x.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "a_module", raising=False)
    state = torch.random.get_rng_state()
    yield tmp_path
    torch.random.set_rng_state(state)


def test_a_user_s_own_model_is_initialised_and_saved(folder, capsys):
    words = "init a_module:residual --input x.pt --c 0.5 --save w.safetensors"
    status, printed, noted = run(words, capsys)
    assert status == 0
    assert "3.branch.2.weight" in printed
    assert "written: w.safetensors" in noted
    branch = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16))
    weights = load_file(folder / "w.safetensors")
    shapes = {f"0.branch.{key}": value.shape for key, value in branch.state_dict().items()}
    assert {key: weights[key].shape for key in shapes} == shapes


def test_the_plan_is_printed_as_json_and_nothing_is_written(folder, capsys):
    status, printed, _ = run("init a_module:residual --input x.pt --json", capsys)
    assert status == 0
    assert json.loads(printed)["c_after"] == pytest.approx(1.0, rel=0.02)
    assert not list(folder.glob("*.safetensors"))


BAD = {
    "init a_module:residual --input x.pt --c 0": "`--c` is 0.0; expected a finite number > 0",
    "init a_module:residual --input x.pt --save w.pt": "expected a file that ends in .safetensors",
    "init a_module:residual --input x.pt --save no/w.safetensors": "an existing directory",
    "init a_module:zero --input x.pt": "--redraw",
}


@pytest.mark.parametrize("words", BAD)
def test_wrong_input_is_one_sentence_and_status_two(words, folder, capsys):
    status, printed, noted = run(words, capsys)
    assert (status, printed) == (2, "")
    assert BAD[words] in noted


def test_a_function_s_weights_cannot_be_saved_and_that_is_said_at_once(folder, capsys, monkeypatch):
    monkeypatch.setattr("isometry.nn.init.init.plan", None)
    words = "init a_module:function --input x.pt --save w.safetensors"
    status, printed, noted = run(words, capsys)
    assert (status, printed) == (2, "")
    assert "`--save` is w.safetensors but the model is a function" in noted


def test_a_plan_starts_from_a_checkpoint(folder, capsys):
    run("init a_module:residual --input x.pt --c 0.5 --save w.safetensors", capsys)
    words = "init a_module:residual --input x.pt --checkpoint w.safetensors --c 0.5 --json"
    planned = json.loads(run(words, capsys)[1])
    assert planned["c_before"] == pytest.approx(0.5, rel=0.1)


def test_a_skip_that_is_a_matrix_is_planned_by_branch_gains(folder, capsys):
    assert run("init a_module:mixed --input x.pt --c 1", capsys)[0] == 2
    words = "init a_module:mixed --input x.pt --branch-gain 0.6 --json"
    code, out, err = run(words, capsys)
    assert code == 0, err
    record = json.loads(out)
    assert record["quantity"] == "branch gain"
    assert record["c_after"] == pytest.approx(0.6, rel=0.02)
