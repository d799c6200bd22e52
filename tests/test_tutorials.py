import importlib.util
import pathlib
import runpy
import sys

import pytest
import torch
from matplotlib import pyplot

ROOT = pathlib.Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))
SCRIPT = '''"""A title

An introduction.
"""

import matplotlib.pyplot as plt

# First say it. Then more.
x = 2
# A remark inside.
print("x is", x)
plt.plot([1, x])

# Only words.

# And code again.
text = """
# not a comment
"""
assert x
'''


@pytest.fixture(autouse=True)
def no_window_and_no_figure_is_left():
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def test_there_are_tutorials():
    assert len(TUTORIALS) >= 6


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_to_its_last_assertion(path, capsys):
    if "import transformers" in path.read_text() or "from transformers" in path.read_text():
        pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    with torch.random.fork_rng():
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
    assert pyplot.get_fignums()  # a tutorial has a picture


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_has_a_title_and_ends_in_an_assertion(path):
    lines = path.read_text().rstrip().splitlines()
    assert lines[0].startswith('"""')
    assert lines[-1].startswith("assert ")


@pytest.fixture(scope="module")
def pages():
    pytest.importorskip("sphinx", reason="the [docs] extra is not installed")
    spec = importlib.util.spec_from_file_location("tutorials", ROOT / "docs/_ext/tutorials.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tutorials"] = module  # where its dataclass looks for its own module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["tutorials"]


def test_a_script_is_cut_into_cells_at_its_comments(pages):
    title, intro, cells = pages.cells(SCRIPT)
    assert (title, intro) == ("A title", "An introduction.")
    assert [cell.text for cell in cells] == [
        "", "First say it. Then more.", "Only words.", "And code again.",
    ]  # fmt: skip
    assert cells[1].code.startswith("x = 2\n# A remark inside.")
    assert "# not a comment" in cells[3].code
    assert [cell.line for cell in cells[1:]] == [8, 14, 16]
    with pytest.raises(ValueError, match="begins with a docstring"):
        pages.cells("x = 1")


def test_a_page_has_what_a_cell_printed_and_drew(pages, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    page = pages.page(script, tmp_path)
    assert page.startswith("# A title\n\nAn introduction.\n\n```python\nimport matplotlib")
    assert "```text\nx is 2\n```\n\n![First say it](script-1.svg)" in page
    assert "<svg" in (tmp_path / "script-1.svg").read_text()
    assert not pyplot.get_fignums()
