import json

import pytest
import torch

from cases_cli import run

MODULE = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, std):
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.a, self.b = nn.Linear(32, 32), nn.Linear(32, 32)
        for m in (self.a, self.b):
            nn.init.normal_(m.weight, std=std)
            nn.init.zeros_(m.bias)
    def forward(self, x):
        return x + self.b(torch.relu(self.a(self.norm(x))))

def right(seed=0, std=0.1):
    torch.manual_seed(seed)
    return nn.Sequential(*[Block(std) for _ in range(4)])

def other_seed():
    return right(1)

def wrong_scale():
    return right(1, 0.12)

def broken():
    net = right()
    with torch.no_grad():
        net[1].norm.weight.normal_(0, 0.02)
    return net

def untidy():
    net = right()
    with torch.no_grad():
        net[2].a.weight.mul_(2)
    return net
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "their_nets.py").write_text(MODULE)
    torch.save(torch.linspace(-1, 1, 64).reshape(2, 32), tmp_path / "x.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "their_nets", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("right", 0),
        ("broken", 1),
        ("broken --fail-on never", 0),
        ("untidy", 0),
        ("untidy --fail-on warning", 1),
        ("right --recipe he", 1),
        ("right --recipe bert", 0),
    ],
)
def test_the_status_is_a_gate(folder, capsys, words, status):
    code, out, err = run(f"lint their_nets:{words} --input x.pt", capsys)
    assert code == status, err
    assert out.startswith("Sequential: ")


def test_a_golden_file_is_written_and_held_to(folder, capsys):
    code, _, err = run("lint their_nets:right --input x.pt --save golden.json", capsys)
    assert (code, "written: golden.json" in err) == (0, True)
    against = "--input x.pt --against golden.json"
    assert run(f"lint their_nets:other_seed {against}", capsys)[0] == 0
    code, out, _ = run(f"lint their_nets:wrong_scale {against}", capsys)
    assert code == 1
    assert "another seed moves it by" in out.replace("\n", " ").replace("  ", " ")


def test_a_golden_file_that_does_not_fit_is_answered_in_the_names_of_the_options(folder, capsys):
    assert run("lint their_nets:right --input x.pt --save golden.json", capsys)[0] == 0
    code, _, err = run("lint their_nets:other_seed --against golden.json", capsys)
    assert (code, "`--against` is golden.json, which was saved with an input" in err) == (2, True)
    assert "Pass `--input`, or make the file again." in err
    text = (folder / "golden.json").read_text()
    (folder / "golden.json").write_text(text.replace('"size": 1024', '"size": -1024', 1))
    code, _, err = run("lint their_nets:right --input x.pt --against golden.json", capsys)
    assert (code, '`--against` is golden.json, whose "size" of "0.a.weight"' in err) == (2, True)


def test_json_and_a_page_are_written(folder, capsys):
    code, out, err = run("lint their_nets:untidy --input x.pt --json --html page.html", capsys)
    assert code == 0, err
    assert json.loads(out)["findings"][0]["rule"] == "role-scale"
    page = (folder / "page.html").read_text()
    assert "2.a.weight" in page
    assert "isometry lint their_nets:untidy --input x.pt --json --html page.html" in page


def test_without_an_input_the_report_says_so(folder, capsys):
    code, out, _ = run("lint their_nets:right", capsys)
    assert code == 0
    assert "no input was given" in out


def test_wrong_use_is_status_2(folder, capsys):
    code, _, err = run("lint their_nets:right --recipe gtp2", capsys)
    assert (code, "Did you mean 'gpt2'?" in err) == (2, True)
    assert "--recipe" in err
    assert run("lint their_nets:right --against absent.json", capsys)[0] == 2
    assert run("lint their_nets:right --save golden.txt", capsys)[0] == 2


def test_a_model_with_several_inputs_takes_a_file_for_each(folder, capsys):
    more = """
class Shifted(nn.Module):
    def __init__(self):
        super().__init__()
        self.stack = right()
    def forward(self, x, shift):
        return self.stack(x) + shift

def shifted():
    return Shifted()
"""
    with (folder / "their_nets.py").open("a") as file:
        file.write(more)
    torch.save(torch.ones(32), "shift.pt")
    code, out, err = run("lint their_nets:shifted --input x.pt --input shift.pt", capsys)
    assert code == 0, err
    assert "4 reader, 4 writer" in out
