import csv
import importlib.util
import json
import sys

import pytest
from cyclopts import App

from isometry.cli import reproduce
from isometry.cli.output import guarded

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
    record = json.loads(capsys.readouterr().out)
    assert record["runs made"] == 0
    assert record["runs found"] > 4
    assert {row["verdict"] for row in record["claims"]} <= {"pass", "fail"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["reproduce", "--profile", "ful"], "`profile` is 'ful'"),
        (["reproduce", "matrixes"], "Did you mean 'matrices'"),
        ([*WORDS[:-1], "threads"], "`kind` is 'threads'"),
        (["reproduce", "training", "--profile", "smoke", "--data", "digit"], "`name` is 'digit'"),
    ],
)
def test_a_wrong_word_is_one_sentence(words, text, tmp_path, capsys):
    assert run([*words, "--out", str(tmp_path / "runs")]) == 2
    assert text in capsys.readouterr().err


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
