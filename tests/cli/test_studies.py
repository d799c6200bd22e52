import json
import re
from functools import partial

import pytest
from cyclopts import App

from cases_schema import check_schema
from isometry.cli.output import guarded
from isometry.cli.studies import demo
from isometry.experiments import demo as study

SMALL = ["--width", "32", "--depth", "8"]


@pytest.fixture(autouse=True)
def _two_activations(monkeypatch):
    monkeypatch.setattr(study, "ACTIVATIONS", ("relu", "tanh"))
    few = partial(study.first_light, activations=("relu", "tanh"))
    monkeypatch.setattr(study, "first_light", few)


def run(words):
    app = App(name="isometry")
    app.command(demo)
    data = [] if "--data" in words else ["--data", "digits"]
    words = ["demo", *SMALL, *data, *words]
    return guarded(
        lambda: app(words, exit_on_error=False, print_error=False, result_action="return_value")
    )


def test_the_demo_writes_a_page_and_prints_both_tables(tmp_path, capsys):
    page = tmp_path / "page.html"
    assert run(["--out", str(page)]) == 0
    printed = capsys.readouterr()
    assert f"written: {page}" in printed.err
    assert printed.out.count("relu") == printed.out.count("tanh") == 2
    assert not re.search(r"<(link|img|iframe)\b", page.read_text())


def test_the_demo_prints_json_with_the_numbers_of_its_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    assert run(["--out", str(page), "--json", "--c", "0.5"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["image_set"], record["width"], record["depth"], record["c"]) == (
        "digits", 32, 8, 0.5,
    )  # fmt: skip
    assert max(network["comparison"]["ks"] for network in record["equal_c"]) > 0
    for key in ("equal_c", "equal_sigma_w"):
        assert [network["activation"] for network in record[key]] == ["relu", "tanh"]
    check_schema(record)
    assert (tmp_path / "page-2.svg").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--out", "/nowhere/page.html"],
            "`--out` is /nowhere/page.html; expected a file in an exi",
        ),
        (["--c", "-1"], "`c` is -1"),
        (["--data", "digit"], "Did you mean 'digits'"),
    ],
)
def test_a_wrong_word_is_one_sentence(words, text, capsys):
    assert run(words) == 2
    assert text in capsys.readouterr().err


def test_the_page_s_folder_is_missed_before_anything_is_measured(capsys, monkeypatch):
    monkeypatch.setattr("isometry.experiments.demo.first_light", None)
    assert run(["--out", "no/page.html"]) == 2
    assert "expected a file in an existing directory" in capsys.readouterr().err
