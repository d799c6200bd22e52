import re
import subprocess
import sys

import pytest

import isometry
import isometry_command
from cases_cli import run
from isometry.cli.app import app
from isometry_command import COMMANDS, overview


def loaded(code, *modules):
    """Which of the modules a fresh process has loaded after the code."""
    end = f"\nimport sys; print('=', *[m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code + end], capture_output=True, text=True, check=True
    )
    return done.stdout.rsplit("=", 1)[1].split()


@pytest.mark.parametrize("word", ["--version", "--help", "-h", ""])
def test_version_and_overview_load_nothing(word):
    words = ["isometry", word] if word else ["isometry"]
    code = f"import sys; sys.argv = {words!r}\nimport isometry_command; isometry_command.main()"
    assert loaded(code, "isometry", "numpy", "cyclopts", "importlib.metadata") == []


def test_importing_the_package_loads_no_special_functions_until_one_is_asked_for():
    slow = ("scipy.special", "scipy.optimize", "numpy.ma", "torch", "jaxtyping")
    assert loaded("import isometry", *slow) == []
    law = "import isometry; law = isometry.UniversalLaw(1.0); law.icdf(0.3), law.mean()"
    assert loaded(law, *slow) == []
    erf = "import isometry; isometry.gaussian_mean(isometry.activation('erf'), 1.0)"
    assert loaded(erf, "scipy.special") == ["scipy.special"]


def test_the_command_prints_its_version_and_overview(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["isometry", "--version"])
    isometry_command.main()
    assert capsys.readouterr().out == f"{isometry.__version__}\n"
    monkeypatch.setattr(sys, "argv", ["isometry", "--help"])
    isometry_command.main()
    assert capsys.readouterr().out == overview()


def test_the_overview_lists_every_command_with_its_first_sentence():
    listed = {name: app[name].help for name in app if not name.startswith("-")}
    first = {name: re.split(r"\n\s*\n", said.strip())[0] for name, said in listed.items()}
    assert first == COMMANDS
    for name, said in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(said)}$", overview(), re.MULTILINE)


def test_everything_else_runs_the_package(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["isometry", "law", "--c", "1"])
    with pytest.raises(SystemExit) as stop:
        isometry_command.main()
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert run("law --c 1", capsys)[1] == printed
    assert "condition_number" in printed
