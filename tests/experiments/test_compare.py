import json
from functools import partial

import pytest
import torch

from isometry.errors import TheoryWarning
from isometry.experiments.compare import SIZES, compare_activations, import_path
from isometry.experiments.engine.executors import open_executor
from isometry.experiments.parts.rungs import RUNGS, TOP

SERIAL = partial(open_executor, "serial")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    options = {"out": out, "open_executor": SERIAL, "profile": "smoke", "rungs": [RUNGS[0], TOP]}
    return compare_activations(["relu", torch.tanh], **options), options


@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
def test_a_comparison_has_a_row_a_rung_and_goes_on_where_it_stopped(found):
    first, options = found
    assert [row["rung"] for row in first.rows()] == [RUNGS[0], TOP]
    assert first.failed == ()
    again = compare_activations(["relu", torch.tanh], **options)
    assert (again.runs_made, again.rows()) == (0, first.rows())


def test_the_page_the_figures_and_the_numbers_are_written(found, tmp_path):
    page = found[0].write(tmp_path / "report")
    text = page.read_text()
    assert "With everything equal that an initialisation decides" in text
    assert "isometry compare-activations relu tanh --data digits --profile smoke" in text
    record = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert record["activations"] == list(found[0].activations)
    assert (tmp_path / "report" / "comparison-1.svg").exists()


@pytest.mark.filterwarnings("ignore:`sign` jumps")
def test_what_cannot_be_brought_to_the_common_point_is_said(tmp_path):
    options = {"open_executor": SERIAL, "profile": "smoke", "rungs": [RUNGS[0], TOP]}
    with pytest.warns(TheoryWarning, match=r"sign at '\+ quadratic share'"):
        made = compare_activations(["relu", "sign"], out=tmp_path, **options)
    assert list(made.refused) == ["sign at '+ quadratic share'"]


def test_functions_travel_by_their_names():
    assert import_path("gelu") == "gelu"
    assert import_path(torch.nn.functional.silu) == "silu"
    assert import_path(torch.nn.LeakyReLU(0.2)) == "leaky_relu(negative_slope=0.2)"
    with pytest.raises(ValueError, match="no worker can import"):
        import_path(lambda h: h)


@pytest.mark.parametrize(
    ("activations", "options", "error", "match"),
    [
        (["relu"], {}, ValueError, "two different ones"),
        (["relu", "tanh"], {"profile": "quik"}, ValueError, "`profile` is 'quik'"),
        (["relu", "numpy:absolute"], {}, NotImplementedError, "torch cannot differentiate"),
    ],
)
def test_wrong_wishes_are_refused(activations, options, error, match, tmp_path):
    with pytest.raises(error, match=match):
        compare_activations(activations, out=tmp_path, open_executor=SERIAL, **options)


def test_the_quick_budget_is_small():
    size = SIZES["quick"]
    runs = len(RUNGS) + len(size["sweep_cs"])
    assert runs * size["training"]["steps"] <= 2000  # gradient steps an activation
