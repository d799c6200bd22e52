import ast
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "isometry").rglob("*.py"))
CODE = SOURCES + sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "benchmarks").glob("*.py"))
THEORY = ["isometry", "isometry.cli.theory"]


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("module", THEORY)
def test_the_theory_imports_no_torch(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    assert run_python(code) == "[]"


def test_the_torch_check_can_fail():
    code = "import sys, isometry.nn; print('torch' in sys.modules)"
    assert run_python(code) == "True"


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_350_lines(path):
    assert len(path.read_text().splitlines()) <= 350


def rows_of(container):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (rows,) = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == [container] and contract["exhaustive"]
    ]
    return rows


# `lint-imports` holds the rows, so counting them counts the levels of the import graph.
def test_nn_is_at_most_twelve_entries_on_five_levels():
    names = {path.name for path in (ROOT / "src" / "isometry" / "nn").iterdir()} - {"__pycache__"}
    rows = rows_of("isometry.nn")
    rooms = {name.strip("()") for row in rows for name in row.split(" | ")}
    assert names == rooms | {"__init__.py"}
    assert len(names) <= 12
    assert len(rows) <= 5


def body_lengths(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                body = body[1:]
            if body:
                yield node.name, body[-1].end_lineno - body[0].lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_body_is_longer_than_40_lines(path):
    assert [(name, size) for name, size in body_lengths(path.read_text()) if size > 40] == []


def test_every_public_module_has_a_test_file():
    missing = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if not path.name.startswith("_")
        and not (
            ROOT
            / "tests"
            / path.relative_to(ROOT / "src" / "isometry").with_name(f"test_{path.name}")
        ).exists()
        and path.name != "errors.py"
    ]
    assert missing == []


def test_every_reference_has_an_entry_in_the_bibliography():
    known = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "docs/references.bib").read_text(), re.M))
    cited = {
        key
        for path in SOURCES
        for key in re.findall(r"^\s+\[([a-z]+\d{4}[a-z]?)\] ", path.read_text(), re.M)
    }
    assert cited
    assert cited <= known
