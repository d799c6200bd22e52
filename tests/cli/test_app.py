import inspect
import json
import re
import subprocess

import pytest

from cases_cli import run
from isometry.cli.app import app, options

COMMANDS = ["law", "cumulant", "sigma-w", "activations", "diagnose", "init", "scale", "demo"]
COMMANDS += ["reproduce"]


@pytest.mark.parametrize("command", [*COMMANDS, "results export"])
def test_every_command_has_a_help_that_lists_the_exit_statuses(command, capsys):
    status, printed, _ = run(f"{command} --help", capsys)
    assert status == 0
    words = " ".join(printed.split())
    assert "0 fine, 1 a check failed, 2 wrong use or missing data, 3 the model failed" in words
    assert "--debug" in words


def test_messages_speak_of_options_and_not_of_inner_arguments():
    names = options(["sigma-w", "gelu"])
    assert names["spec"] == "NAME"
    assert names["kappa"] == names["condition_number"] == "--condition-number"
    assert options(["diagnose", "m:f"])["x"] == "--input"
    assert options(["reproduce"])["kind"] == "--executor"
    assert options([]) == {}


def test_an_integer_is_not_rounded_in_any_command(capsys):
    for words in ("demo --width 40.5", "reproduce --workers 1.5", "init m:f --input x --seed 0.5"):
        status, printed, noted = run(words, capsys)
        assert (status, printed) == (2, "")
        assert "expected an integer" in noted
        assert f"`isometry {words.split()[0]} --help`" in noted


def test_a_whole_number_may_be_written_with_a_point(capsys):
    assert json.loads(run("cumulant gelu --depth 2.0 --json", capsys)[1])["depth"] == 2


WITHOUT_JSON = {
    ("schema",): "prints JSON always",
    ("web",): "serves or writes a page",
    ("mcp",): "serves a protocol whose answers are JSON",
    ("--install-completion",): "writes a script for a shell",
}


def commands(group=app, above=()):
    """Go through (names, function) of all commands, those of groups included."""
    for name in group:
        inner = group[name]
        if name in ("--help", "-h", "--version"):
            continue
        if inner.default_command is None:
            yield from commands(inner, (*above, name))
        else:
            yield (*above, name), inner.default_command


def test_every_command_answers_in_json_or_is_listed_with_the_reason():
    found = dict(commands())
    assert len(found) > 12
    silent = {name for name, f in found.items() if "json" not in inspect.signature(f).parameters}
    assert silent == set(WITHOUT_JSON)


def test_completion_is_written_for_the_shell_that_is_asked_for(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # whose start file gets a line
    place = tmp_path / "isometry"
    words = f"--install-completion --shell bash --output {place}"
    assert run(words, capsys)[0] == 0
    script = place.read_text()
    assert {"diagnose", "lint", "compare-activations"} <= set(re.findall(r"[\w-]+", script))
    assert subprocess.run(["bash", "-n", place], check=False).returncode == 0


def test_the_table_holds_every_command():
    assert {*COMMANDS, "results"} <= set(app)
