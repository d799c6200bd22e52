import json

import pytest
import torch

from cases_cli import run

MODULE = """
import torch
from torch import nn

class Skip(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Dropout(dropout))
    def forward(self, x):
        return x + self.branch(x)

def residual():
    torch.manual_seed(0)
    return nn.Sequential(*[Skip() for _ in range(4)])

def dropout():
    return nn.Sequential(Skip(0.1), Skip(0.1))

def plain():
    return nn.Sequential(nn.Linear(16, 16), nn.Tanh())

def broken():
    net = residual()
    with torch.no_grad():
        net[0].branch[0].weight.fill_(float("nan"))
    return net

class Failing(nn.Module):
    def forward(self, x):
        raise KeyError("no such key")

def failing():
    return Failing()

class Conditioned(nn.Module):
    def __init__(self):
        super().__init__()
        self.stack = residual()
    def forward(self, x, shift):
        return {"out": self.stack(x) + shift, "double": 2 * self.stack(x) + shift}

def conditioned():
    return Conditioned()

class Talking(nn.Sequential):
    def forward(self, x):
        print("a pass")
        return super().forward(x)

def talking():
    print("made")
    return Talking(*[Skip() for _ in range(2)])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "their_module.py").write_text(MODULE)
    torch.save(torch.linspace(-1, 1, 16).reshape(1, 16), tmp_path / "x.pt")
    torch.save(torch.ones(1, 16, dtype=torch.int64), tmp_path / "ids.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "their_module", raising=False)
    state = torch.random.get_rng_state()
    yield tmp_path
    torch.random.set_rng_state(state)


def test_a_user_s_own_model_is_diagnosed(folder, capsys):
    words = "diagnose their_module:residual --input x.pt --html out.html"
    status, printed, _ = run(words, capsys)
    assert status == 0
    assert "c     =" in printed
    page = (folder / "out.html").read_text()
    assert page.count("<svg") == 1


def test_a_diagnosis_becomes_json(folder, capsys):
    text = run("diagnose their_module:residual --input x.pt --json", capsys)[1]
    found = json.loads(text)
    assert found["c"] > 0
    assert len(found["blocks"]) == 4


@pytest.mark.parametrize("command", ["diagnose", "lint", "init"])
def test_what_a_model_prints_is_not_in_the_answer(folder, capsys, command):
    words = f"{command} their_module:talking --input x.pt --json"
    status, printed, complaint = run(words, capsys)
    assert status == 0
    assert json.loads(printed)["schema"]
    assert complaint.index("made") < complaint.index("a pass")


def test_a_model_without_blocks_is_measured_and_the_reason_given(folder, capsys):
    status, text, complaint = run("diagnose their_module:plain --input x.pt --json", capsys)
    assert (status, complaint.strip()) == (0, "")
    found = json.loads(text)
    assert found["c"] is None
    assert found["reason"]
    assert found["spectrum"]["values"]


@pytest.mark.parametrize("command", ["diagnose", "init"])
def test_a_model_with_several_inputs_is_measured_by_one_of_them(folder, capsys, command):
    x = torch.load("x.pt")
    torch.save({"shift": torch.ones(1, 16), "x": x}, "both.pt")
    torch.save(torch.ones(1, 16), "shift.pt")
    words = f"{command} their_module:conditioned --json"
    by_name = f"{words} --input both.pt --wrt x --output out"
    in_order = f"{words} --input x.pt --input shift.pt --wrt 0 --output out"
    first, second = (json.loads(run(line, capsys)[1]) for line in (by_name, in_order))
    alone = json.loads(run(f"{command} their_module:residual --input x.pt --json", capsys)[1])
    assert len(first["blocks"]) == len(alone["blocks"]) == 4
    assert first["blocks"] == second["blocks"]
    key = "c" if command == "diagnose" else "c_before"
    received, expected = ([b[key] for b in found["blocks"]] for found in (first, alone))
    assert received == pytest.approx(expected)
    status, _, complaint = run(f"{words} --input both.pt --wrt y", capsys)
    assert status == 2
    assert "`--wrt` is 'y'" in complaint


def test_what_is_differentiated_may_be_another_input_and_another_output(folder, capsys):
    torch.save({"shift": torch.ones(1, 16), "x": torch.load("x.pt")}, "both.pt")
    words = "diagnose their_module:conditioned --input both.pt --json --method dense --wrt"
    found = json.loads(run(f"{words} shift --output double", capsys)[1])
    assert found["spectrum"]["values"] == pytest.approx([1.0] * 16)
    assert "with respect to `shift`" in found["conditions"]


def test_the_page_s_folder_is_missed_before_anything_is_measured(folder, capsys, monkeypatch):
    monkeypatch.setattr("isometry.nn.diagnosis.diagnosis.diagnose", None)
    words = "diagnose their_module:residual --input x.pt --html no/out.html"
    status, _, complaint = run(words, capsys)
    assert status == 2
    assert "`--html` is no/out.html; expected a file in an existing directory." in complaint


def test_weights_come_from_a_checkpoint(folder, capsys):
    import their_module

    trained = their_module.residual()
    with torch.no_grad():
        for block in trained:
            block.branch[0].weight.mul_(3)
    torch.save(trained.state_dict(), "w.pt")
    words = "diagnose their_module.py:residual --input x.pt --json"
    plain = json.loads(run(words, capsys)[1])["c"]
    assert json.loads(run(f"{words} --checkpoint w.pt", capsys)[1])["c"] > 2 * plain


@pytest.mark.parametrize("debug", ["", " --debug"])
def test_a_failure_in_the_user_s_model_is_status_3_with_file_and_line(folder, capsys, debug):
    status, printed, complaint = run(f"diagnose their_module:failing --input x.pt{debug}", capsys)
    assert (status, printed) == (3, "")
    assert "KeyError: 'no such key' (their_module.py, line 30, in forward)" in complaint
    assert ("Traceback" in complaint) == bool(debug)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("their_module:dropout --input x.pt", "model.eval()"),
        ("their_module:residual --input ids.pt", "embeddings"),
        ("their_module:broken --input x.pt", "NaN"),
        ("their_module:residual --input no.pt", "no.pt"),
        ("their_module:missing --input x.pt", "missing"),
        ("their_module --input x.pt", "module:callable"),
        (
            "their_module:residual --input x.pt --num-probes 0 --method lanczos",
            "`--num-probes` is 0",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(folder, capsys, words, message):
    status, printed, complaint = run(f"diagnose {words}", capsys)
    lines = [line for line in complaint.splitlines() if line.strip()]
    assert (status, printed, len(lines)) == (2, "", 1)
    assert message in lines[0]


def test_what_a_diagnosis_advises_is_said_in_options(folder, capsys):
    more = """
class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 16), nn.Tanh())
    def forward(self, x):
        return x + self.branch(x)

def normed():
    return nn.Sequential(*[Normed() for _ in range(4)]).eval()
"""
    with (folder / "their_module.py").open("a") as file:
        file.write(more)
    status, text, _ = run("diagnose their_module:normed --input x.pt", capsys)
    assert status == 0
    assert "--batch-norm batch measures with the statistics" in " ".join(text.split())
    assert "batch_norm=" not in text
