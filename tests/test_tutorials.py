import pathlib
import runpy

import pytest
import torch
from matplotlib import pyplot

TUTORIALS = sorted((pathlib.Path(__file__).parent.parent / "tutorials").glob("*.py"))


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
