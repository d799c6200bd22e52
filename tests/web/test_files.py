"""What is dropped on the page, the link, and the lines of Python: without a browser."""

import base64
import json
import warnings

import numpy as np
import pytest
import torch

import isometry as iso
from cases_web import answers, ask
from isometry import nn as inn
from isometry.cli.output import json_text
from isometry.experiments.engine.records import Outcome, RunConfig
from isometry.experiments.engine.runs import perform, place_of

STATES = [
    {},
    {"activation": "elu", "parameters": {"alpha": 0.5}, "mode": "sigma", "amount": 1.25},
    {"activation": "gelu", "parameters": {"approximate": "tanh"}, "mode": "condition", "amount": 9},
    {"activation": "relu", "depth": 20, "skip": -0.9, "mode": "condition", "amount": 5},
    {"activation": "tanh", "sigmaB": 0.3, "m1": 0.2, "m2": 1.5, "centre": True, "amount": 0.3},
    {"activation": "softplus", "unit": True, "signs": True, "amount": 0.2, "depth": 10},
    {"activation": "formula", "formula": "-(h - 1)^2 / (2 + h*h) + max(h, 0.5)", "depth": 4},
    {"activation": "formula", "formula": "gelu(h) + exp(-h**2) * pi - e", "depth": 4},
]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run as the studies write it."""
    root = tmp_path_factory.mktemp("runs")
    settings = {"activation": "tanh", "depth": 24, "width": 30, "sigma_w": 1.1, "sigma_b": 0.0}
    config = RunConfig("network-spectrum", 0, settings)
    lam = iso.UniversalLaw(0.8).sample(30, rng=np.random.default_rng(0))

    def task(config, folder):
        return Outcome({"c": 0.8, "ks_own": 0.05}, arrays={"log_lam": np.log(lam)})

    perform(root, config, task)
    return place_of(root, config)


def question(path):
    content = base64.b64encode(path.read_bytes()).decode()
    return {"kind": "file", "name": path.name, "base64": content}


def test_the_files_of_a_run_are_read(run_folder):
    names = ("arrays.safetensors", "run.json", "config.json")
    arrays, run, config = answers([question(run_folder / name) for name in names])
    assert (arrays["kind"], arrays["size"]) == ("arrays of a run", 30)
    assert (run["kind"], run["c"]) == ("run", 0.8)
    assert {"name": "ks_own", "value": "0.05"} in run["rows"]
    assert config["settings"] == {
        "activation": "tanh", "depth": 24, "width": 30, "sigmaB": 0, "mode": "sigma", "amount": 1.1
    }  # fmt: skip


def test_a_lint_report_becomes_a_table():
    torch.manual_seed(0)
    net = torch.nn.Sequential(*[torch.nn.Linear(32, 32) for _ in range(3)])
    good = inn.lint(net)
    with torch.no_grad():
        net[1].weight.mul_(50.0)
    bad = inn.lint(net)
    texts = [json_text(report) for report in (bad, good)]
    asked = [{"kind": "file", "name": "lint.json", "text": text} for text in texts]
    found, none = answers(asked)
    assert found["rows"] == [
        {"severity": f.severity, "parameter": f.parameter, "finding": f"{f.message} {f.remedy}"}
        for f in bad.findings
    ]
    assert len(found["rows"]) > 0
    assert bad.remark in found["sentences"]
    assert none["rows"] == []
    assert none["sentences"][0] == "No findings: the initialisation landed."


@pytest.mark.parametrize("cut", [0, 5, 40, -8])
def test_a_damaged_safetensors_file_is_a_sentence(run_folder, cut):
    content = (run_folder / "arrays.safetensors").read_bytes()[:cut]
    asked = {"kind": "file", "name": "a.safetensors", "base64": base64.b64encode(content).decode()}
    (found,) = ask([asked])
    assert found["error"].startswith("a.safetensors is no safetensors file; expected")


def test_levels_and_weights_of_a_spectrum_are_checked():
    good = {"values": [1.0, 2.0], "weights": [0.25, 0.75], "unresolved": [0.0, 0.25]}
    wrong = [{"unresolved": [0.5, 0.2]}, {"weights": [0.5, 0.6]}, {"values": []}, {"weights": "x"}]
    asked = [
        {"kind": "file", "name": "s.json", "text": json.dumps({"spectrum": good | change})}
        for change in ({}, *wrong)
    ]
    first, *rest = ask(asked)
    assert first["answer"]["size"] == 2
    assert all("expected" in one["error"] for one in rest)


def test_links_keep_every_state():
    asked = [
        {"kind": "link", "state": state, "locked": STATES[:i]} for i, state in enumerate(STATES)
    ]
    for i, found in enumerate(answers(asked)):
        assert found["complaints"] == []
        assert found["state"].items() >= STATES[i].items()
        assert len(found["locked"]) == i


@pytest.mark.parametrize("state", STATES, ids=range(len(STATES)))
def test_the_lines_of_python_give_the_numbers_of_the_page(state, capsys):
    state = {"like": ""} | state  # to search a working point takes long
    lines, page = answers([{"kind": "python", "state": state}, {"kind": "page", "state": state}])
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(lines, names)
    assert names["sigma_w"] == pytest.approx(page["sigmaW"], rel=1e-6)
    assert names["law"].log_support() == pytest.approx(page["support"], rel=1e-6)
    assert float(capsys.readouterr().out.split()[0]) == pytest.approx(page["c"], rel=1e-6)


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("2h", 'has "h" at character 2'),
        ("max(h)", "gives max 1 arguments; expected 2"),
        ("h $ 2", 'has "$" at character 3'),
        ("constructor(h)", 'has "constructor" at character 1'),
        ("h.a", 'has "." at character 2'),
        ("(" * 60 + "h", "nested more than 40 deep"),
        ("-" * 60 + "h", "nested more than 40 deep"),
        ("h" + "+h" * 200, "has 401 characters"),
        ("tanh h", 'expected "(" after tanh'),
        ("1/(h + 1.5)", "not finite at h = -1.5"),
    ],
)
def test_a_wrong_formula_is_a_sentence(formula, sentence):
    (found,) = ask([{"kind": "page", "state": {"activation": "formula", "formula": formula}}])
    assert sentence in found["error"]


def test_kinks_of_a_formula_are_found():
    formulas = ["abs(h - 0.3)", "relu(relu(h) - 1)", "max(h, h^2)", "sign(h)*h", "tanh(h)"]
    found = answers([{"kind": "kinks", "formula": text} for text in formulas])
    expected = [[0.3], [0.0, 1.0], [0.0, 1.0], [0.0], []]
    for kinks, points in zip(found, expected, strict=True):
        assert kinks == pytest.approx(points, abs=1e-9)


def test_what_the_averages_do_not_resolve_is_said():
    formulas = {"sqrt(abs(h))": True, "sin(300*h)": True, "sign(h)*h": False, "abs(h)*h": False}
    state = {"activation": "formula", "mode": "sigma", "depth": 3}
    asked = [{"kind": "page", "state": state | {"formula": text}} for text in formulas]
    for found, rough in zip(answers(asked), formulas.values(), strict=True):
        assert any("do not resolve" in text for text in found["warnings"]) == rough
