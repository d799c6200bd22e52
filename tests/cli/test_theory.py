import json
import resource
import subprocess
import sys

import pytest

from cases_cli import run

COMMANDS = [
    "law --c 1",
    "law --condition-number 20",
    "cumulant gelu --depth 100 --sigma-w 1",
    "cumulant leaky_relu(0.1) --depth 10",
    "sigma-w gelu --depth 100 --c 1",
    "sigma-w tanh --depth 100 --condition-number 5 --skip 0.9",
    "activations",
]
ERRORS = [
    ("law --c -1", "`--c` is -1.0; expected"),
    ("law", "exactly one of"),
    ("law --c 1 --condition-number 4", "exactly one of"),
    ("law --c one", "`--c` is 'one'; expected a number"),
    ("law --c nan", "`--c` is nan"),
    ("law --condition-number 0.5", "`--condition-number` is 0.5"),
    ("cumulant gelo --depth 10", "`NAME` is 'gelo'"),
    ("cumulant gelu --depth 0", "`--depth` is 0"),
    ("cumulant gelu --depth 10 --sigma-w -1", "`--sigma-w` is -1.0"),
    ("cumulant gelu --depth 1.5", "`--depth` is '1.5'; expected an integer"),
    ("cumulant gelu", "`--depth` is missing"),
    ("cumulant no_such_module:phi --depth 3", "there is no module 'no_such_module'"),
    ("sigma-w relu --depth 100 --c 1 --skip 0", "skip"),
    ("sigma-w gelu --depth 100 --c 1 --condition-number 3", "at most one of"),
    ("no-such-command", "--help"),
]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_prints_a_table_and_the_same_as_json(words, capsys):
    status, table, complaint = run(words, capsys)
    assert (status, complaint) == (0, "")
    assert "---" in table
    status, text, complaint = run(words + " --json", capsys)
    assert (status, complaint) == (0, "")
    assert json.loads(text)


@pytest.mark.parametrize(("words", "message"), ERRORS)
def test_bad_input_is_one_sentence_and_status_2(words, message, capsys):
    status, printed, complaint = run(words, capsys)
    assert (status, printed) == (2, "")
    assert message in complaint
    assert len(complaint.splitlines()) == 1


def test_the_reference_value_of_gelu_is_printed(capsys):
    text = run("cumulant gelu --depth 100 --sigma-w 1 --json", capsys)[1]
    assert f"{json.loads(text)['c']:.4f}" == "0.2575"


def test_sigma_w_and_cumulant_are_inverse(capsys):
    solved = json.loads(run("sigma-w gelu --depth 100 --c 1 --json", capsys)[1])["sigma_w"]
    text = run(f"cumulant gelu --depth 100 --sigma-w {solved!r} --json", capsys)[1]
    assert json.loads(text)["c"] == pytest.approx(1, rel=1e-9)


def test_a_jump_is_a_warning_on_one_line(capsys):
    status, _, complaint = run("cumulant hardshrink --depth 5", capsys)
    assert status == 0
    assert complaint.startswith("warning: ")
    assert len(complaint.splitlines()) == 1


def test_a_theory_command_takes_about_a_second_of_processor_time():
    # measured 0.8 s on a loaded machine, imports included; torch alone would add 2 s
    command = [sys.executable, "-m", "isometry", "sigma-w", "gelu", "--depth", "100", "--c", "1"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(command, check=True, capture_output=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.6


def test_a_c_whose_law_leaves_float64_is_printed_all_the_same(capsys):
    words = "cumulant relu --depth 400 --sigma-w 40 --json"
    status, text, complaint = run(words, capsys)
    assert status == 0
    assert json.loads(text)["c"] == pytest.approx(800)
    assert complaint.startswith("warning: c is known but not its law")


def test_an_unreachable_target_states_the_range(capsys):
    status, _, complaint = run("sigma-w sign --depth 10 --c 1", capsys)
    assert status == 2
    assert "reach" in complaint


def test_an_activation_of_one_s_own_is_found_by_module_and_name(tmp_path, capsys, monkeypatch):
    (tmp_path / "acts.py").write_text("import numpy as np\ndef ours(h):\n    return np.tanh(h)\n")
    monkeypatch.chdir(tmp_path)
    theirs = json.loads(run("cumulant acts.py:ours --depth 10 --json", capsys)[1])
    named = json.loads(run("cumulant tanh --depth 10 --json", capsys)[1])
    assert theirs["c"] == pytest.approx(named["c"], rel=1e-6)
    assert json.loads(run("sigma-w ./acts.py:ours --depth 10 --json", capsys)[1])["sigma_w"] > 1


def test_help_and_version_succeed(capsys):
    assert "cumulant" in run("--help", capsys)[1]
    assert run("--version", capsys)[0] == 0


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_law_is_drawn_where_one_asks_for_it(capsys, tmp_path, ending):
    path = tmp_path / f"law.{ending}"
    status, _, said = run(f"law --c 1 --plot {path}", capsys)
    assert status == 0
    assert f"written: {path}" in said
    assert path.read_bytes()[:5] in (b"<?xml", b"\x89PNG\r")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/law.svg", "law.jpg5"])
def test_a_picture_that_cannot_be_written_is_refused_first(capsys, tmp_path, place):
    status, out, said = run(f"law --c 1 --plot {tmp_path / place}", capsys)
    assert (status, out) == (2, "")
    assert "`--plot` is" in said
