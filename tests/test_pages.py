"""Every block of Python in README, changelog and docs runs, a page from its top to its end."""

import contextlib
import inspect
import io
import pathlib
import re
import socket

import pytest
import torch

from isometry.experiments.parts import study
from isometry.experiments.studies import all_studies
from isometry.experiments.tasks import tasks
from isometry.nn.networks.activation import WRITTEN_OUT
from isometry.nn.tape.rules import RULES
from isometry.theory.activations.catalogue import NAMED

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(
    r"(<!-- not run: .+ -->\n\n)?```python\n(.*?)```(?:\n\n```text\n(.*?)\n```)?", re.DOTALL
)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.?\d*(?:e[-+]?\d+)?")
all_studies()  # before a page does: what is put back must be whole
REGISTRIES = (NAMED, RULES, WRITTEN_OUT, study._REGISTRY)


def blocks(path):
    """Return the blocks that run, each behind as many empty lines as stand before it.

    With each goes what the page shows of its output; None where it shows nothing.
    """
    text = path.read_text()
    found = [match for match in BLOCK.finditer(text) if not match[1]]
    return [
        (compile("\n" * text.count("\n", 0, m.start(2)) + m[2], path, "exec"), m[3]) for m in found
    ]


def execute(block, names):
    """Run a block, and hold what it prints to what the page shows of it."""
    code, shown = block
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, names)
    if shown is not None:
        assert_alike(said.getvalue(), shown)


def assert_alike(said, shown):
    """Compare words exactly and numbers to 2 %; behind a line of three dots nothing is compared."""
    lines = [[line.rstrip() for line in text.strip("\n").splitlines()] for text in (said, shown)]
    if lines[1][-1] == "...":
        lines = [lines[0][: len(lines[1]) - 1], lines[1][:-1]]
    words = [re.sub(r"-{2,}", "--", NUMBER.sub("#", "\n".join(each))).split() for each in lines]
    assert words[0] == words[1]
    numbers = [[float(x) for x in NUMBER.findall("\n".join(each))] for each in lines]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.02, abs=1e-4)


def rows(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


PAGES = [
    path for path in [ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))] if blocks(path)
]
HOW_TO = [path for path in PAGES if path.parent.name == "howto"]


@pytest.fixture(autouse=True)
def registries_and_random_state_are_put_back():
    before = [dict(table) for table in REGISTRIES]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    for table, kept in zip(REGISTRIES, before, strict=True):
        table.clear()
        table.update(kept)


def run(path):
    """Run a page in one namespace."""
    names = {}
    for block in blocks(path):
        execute(block, names)
    return names


@pytest.fixture
def one_process_world(monkeypatch):
    """Stand in for torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for key, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")


@pytest.mark.parametrize("block", blocks(README), ids=range(len(blocks(README))))
def test_the_readme_runs_block_by_block(block):
    execute(block, {})


def test_what_a_page_shows_is_compared_with_what_is_printed():
    said = "c     = 1.00\n------  --\na  2.5e3"
    assert_alike(said, "c = 1.01\n---  ----\na  2500")
    assert_alike(said, "c = 1.01\n...")
    for wrong in ("c = 1.03\n...", "d = 1.0\n...", "c = 1.0"):
        with pytest.raises(AssertionError):
            assert_alike(said, wrong)


def test_the_readme_has_blocks_to_run_and_is_short():
    assert len(blocks(README)) >= 2
    assert len(README.read_text().splitlines()) <= 150


@rows([path for path in PAGES if path not in HOW_TO])
@pytest.mark.usefixtures("one_process_world")
def test_a_page_runs_from_its_top_to_its_end(path):
    run(path)


def test_what_is_not_run_is_one_block_and_says_why():
    texts = [README.read_text(), *(path.read_text() for path in (ROOT / "docs").rglob("*.md"))]
    assert sum(text.count("<!-- not run: ") for text in texts) == 1


def test_there_is_a_page_for_each_thing_that_can_be_added():
    assert {path.stem for path in HOW_TO} == {"activation", "law", "study", "tape_rule"}


def test_the_activation_that_its_page_adds_agrees_with_mpmath():
    names = run(ROOT / "docs/howto/activation.md")
    from cases_activations import averages
    from isometry import activation, gaussian_moments
    from isometry.nn.networks.activation import torch_phi

    ((text, row),) = names["mpmath_rows"].items()
    for q in (1e-8, 1.0, 1e8):
        moments = gaussian_moments(text, q)
        wanted = [float(value) for value in averages(*row, q)]
        got = [moments.mean, moments.square, moments.slope, moments.slope_square]
        assert got == pytest.approx(wanted, rel=1e-10)
    text, function, _ = names["torch_row"]
    x = torch.linspace(-9, 9, 101, dtype=torch.float64)
    torch.testing.assert_close(torch_phi(activation(text))(x), function(x))


def conformance_suite(law):
    """Yield the tests that every law goes through, and that take nothing else."""
    for name in ("base", "moments", "transforms"):
        path = ROOT / f"tests/theory/laws/test_{name}.py"
        space = {}
        exec(compile(path.read_text(), path, "exec"), space)
        space.setdefault("NAMES", {})[type(law).__name__] = type(law)
        for test in space.values():
            marks = [mark.args for mark in getattr(test, "pytestmark", ())]
            alone = inspect.isfunction(test) and [*inspect.signature(test).parameters] == ["law"]
            if alone and space["every_law"].args in marks:
                yield test


def test_the_law_that_its_page_adds_passes_the_conformance_suite():
    ((_, law),) = run(ROOT / "docs/howto/law.md")["row"].items()
    suite = [*conformance_suite(law)]
    assert len(suite) >= 10
    for test in suite:
        test(law)


def test_the_tape_rule_that_its_page_adds_is_taken():
    names = run(ROOT / "docs/howto/tape_rule.md")
    assert RULES["prod"] is names["product_along"]


def test_the_study_that_its_page_adds_runs_and_resumes():
    names = run(ROOT / "docs/howto/study.md")
    assert tasks()["linear_spread"] is names["measure"]


def test_every_class_that_the_list_of_nouns_names_is_in_the_code():
    named = re.findall(r"`([A-Z]\w+)`", (ROOT / "docs/nouns.md").read_text())
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    assert len(named) > 15
    gone = [name for name in named if name != "CodeFont" and f"class {name}" not in source]
    assert gone == []


def test_what_the_pages_say_of_the_models_is_what_their_table_counts():
    rows = [line.split("|") for line in (ROOT / "docs/models.md").read_text().splitlines()]
    head = next(row for row in rows if "described by" in "|".join(row))
    place = [cell.strip() for cell in head].index("described by")
    cells = [row[place].strip() for row in rows if len(row) == len(head)][2:]
    law, product = cells.count("law"), cells.count("product law")
    assert law > 0 < product
    readme = " ".join(README.read_text().split())
    assert f"describes {law} of [{len(cells)} usual models]" in readme
    assert f"blocks' own spectra describes {product} more" in readme
    known = (ROOT / "docs/use/known.md").read_text()
    assert f"describes {product} of {len(cells)} models beside the {law} of the law" in known
    assert f"measured for {cells.count('twin')} models more" in known
