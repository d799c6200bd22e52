import csv
import importlib.util
import json
import re
import shutil
import sys

import pytest
from cyclopts import App

import cases_cli
from cases_schema import check_schema
from isometry.cli import reproduce
from isometry.cli.output import guarded
from isometry.experiments.engine.runs import Outcome, RunConfig, perform

WORDS = ["reproduce", "matrices", "--profile", "smoke", "--executor", "serial"]


def run(words):
    app = App(name="isometry")
    app.command(reproduce.reproduce)
    app.command(reproduce.export)
    return guarded(
        lambda: app(words, exit_on_error=False, print_error=False, result_action="return_value")
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert run([*WORDS, "--out", str(folder), "--publish", str(folder / "published")]) == 0
    return folder


def test_the_command_writes_the_page_twice_and_goes_on_where_it_stopped(out, capsys):
    for folder in (out, out / "published"):
        assert (folder / "reproduction.html").exists()
        assert (folder / "reproduction.json").exists()
    assert run([*WORDS, "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    made, found = re.search(r"runs: (\d+) made, (\d+) found", printed.err).groups()
    assert int(made) == 0 < 4 < int(found)
    assert {row["verdict"] for row in record["hypotheses"]} <= {"pass", "fail"}
    check_schema(record)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["reproduce", "--profile", "ful"], "`--profile` is 'ful'; expected one of 'smoke'"),
        (["reproduce", "matrixes"], "Did you mean 'matrices'"),
        ([*WORDS[:-1], "threads"], "`--executor` is 'threads'; expected one of 'serial'"),
        (["reproduce", "training", "--profile", "smoke", "--data", "digit"], "`--data` is 'digit'"),
    ],
)
def test_a_wrong_word_is_one_sentence(words, text, tmp_path, capsys):
    status, _, complaint = cases_cli.run(" ".join([*words, "--out", str(tmp_path / "r")]), capsys)
    assert status == 2
    assert text in complaint


def test_runs_are_exported_as_a_table(out, tmp_path, capsys):
    target = tmp_path / "runs.csv"
    assert run(["export", "--out", str(out), "--csv", str(target)]) == 0
    with open(target, encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["task"] for row in rows} == {"random-matrix"}
    assert all(float(row["ks"]) > 0 for row in rows)
    assert f"{len(rows)} runs to {target}" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_runs_are_exported_as_parquet(out, tmp_path):
    assert run(["export", "--out", str(out), "--parquet", str(tmp_path / "runs.parquet")]) == 0


def test_parquet_asks_for_what_is_missing(out, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert run(["export", "--out", str(out), "--parquet", str(tmp_path / "runs.parquet")]) == 2
    assert "pip install pandas pyarrow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "give at least one of them"),
        (["--csv", "x.csv", "--out", "nowhere"], "`root` is 'nowhere'"),
    ],
)
def test_an_export_of_nothing_is_refused(words, text, capsys):
    assert run(["export", *words]) == 2
    assert text in capsys.readouterr().err


def test_an_empty_folder_has_nothing_to_export(tmp_path, capsys):
    assert run(["export", "--out", str(tmp_path), "--csv", "x.csv"]) == 2
    assert "holds no finished run" in capsys.readouterr().err


def made_of(root, settings, results=None):
    config = RunConfig("table", 0, settings)
    perform(root, config, lambda *_: Outcome(results or {"y": -1.5}))
    return config


@pytest.mark.parametrize(
    ("word", "cell"),
    [
        ("=1+1", "'=1+1"), ("+x", "'+x"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)"),
        (" =1+1", "' =1+1"), ("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("\n=1", "'\n=1"),
        ("＝1", "'＝1"), ("-1.5", "-1.5"), ("+2e-3", "+2e-3"), ("-1.5=x", "'-1.5=x"),
        ("relu", "relu"), ("a=b", "a=b"), ('say "=1"', 'say "=1"'), ("", ""),
    ],
)  # fmt: skip
def test_no_cell_of_the_table_is_a_formula_and_numbers_stay_numbers(tmp_path, word, cell):
    made_of(tmp_path / "runs", {"phi": word, "=key": -2, "list": ["=1"]})
    target = tmp_path / "runs.csv"
    assert run(["export", "--out", str(tmp_path / "runs"), "--csv", str(target)]) == 0
    with open(target, encoding="utf-8", newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert row["phi"] == cell
    assert (row["'=key"], row["y"], row["list"]) == ("-2", "-1.5", "['=1']")


def test_a_damaged_run_is_named_by_the_export_which_goes_on(tmp_path, capsys):
    for value in (1, 2):
        config = made_of(tmp_path / "runs", {"value": value})
    (tmp_path / "runs" / "table" / config.id / "run.json").write_text("")
    target = tmp_path / "runs.csv"
    assert run(["export", "--out", str(tmp_path / "runs"), "--csv", str(target)]) == 0
    said = capsys.readouterr().err
    assert f"{config.id} has an empty run.json; it is left out" in said
    assert "1 runs to" in said


def test_a_table_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    made_of(tmp_path / "runs", {})
    target = tmp_path / "nowhere" / "runs.csv"
    assert run(["export", "--out", str(tmp_path / "runs"), "--csv", str(target)]) == 2
    said = capsys.readouterr().err
    assert f"`--csv` is {target}; expected a file in an existing directory. Make it first" in said


def test_runs_are_printed_as_json(tmp_path, capsys):
    made_of(tmp_path / "runs", {"phi": "relu"})
    made_of(tmp_path / "runs", {"width": 3})
    assert run(["export", "--out", str(tmp_path / "runs"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    check_schema(record)
    rows = record["runs"]
    assert {(row["phi"], row["width"], row["y"]) for row in rows} == {
        ("relu", None, -1.5), (None, 3, -1.5),
    }  # fmt: skip


@pytest.mark.parametrize("option", ["--out", "--publish"])
def test_a_folder_that_is_a_file_is_missed_before_any_run(option, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("isometry.experiments.profiles.studies", None)
    (tmp_path / "file").write_text("")
    assert run([*WORDS, option, str(tmp_path / "file" / "pages")]) == 2
    said = capsys.readouterr().err
    assert f"`{option}` is {tmp_path / 'file' / 'pages'}; expected a folder, but" in said


def test_a_damaged_run_is_named_by_the_command_which_makes_it_again(out, tmp_path, capsys):
    shutil.copytree(out, tmp_path / "runs")
    place = next((tmp_path / "runs" / "random-matrix").iterdir())
    (place / "arrays.safetensors").write_bytes(b"")
    assert run([*WORDS, "--out", str(tmp_path / "runs"), "--json"]) == 0
    printed = capsys.readouterr()
    assert "runs: 1 made, " in printed.err
    assert f"set aside: {place} has another arrays.safetensors than was written" in printed.err
