import dataclasses

import numpy as np
import pytest
import torch

from cases_models import Residual, mlp, stack
from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.diagnosis.result import Outlier
from isometry.nn.diagnosis.text import text
from isometry.theory.spectra_comparison import compare_spectra
from isometry.theory.spectrum import Spectrum


@pytest.fixture(scope="module")
def d():
    model = stack(lambda: Residual(mlp(8, 16)), 70)
    for body in (block.body for block in model):
        torch.nn.init.normal_(body[2].weight, std=0.01)
    return diagnose(model, torch.ones(1, 8), generator=torch.Generator().manual_seed(0))


def test_of_very_many_blocks_those_with_the_largest_shares_are_shown(d):
    report = text(d)
    assert "(10 blocks with smaller shares left out)" in report
    assert len(d.rows()) == 70


def test_what_is_unresolved_has_the_word_in_place_of_a_number(d):
    part = Spectrum(d.spectrum.values, unresolved=(0.0, 0.6))
    comparison = dataclasses.replace(
        d.comparison, measured_edges=(None, d.comparison.measured_edges[1])
    )
    lines = text(dataclasses.replace(d, spectrum=part, comparison=comparison)).splitlines()
    for name in ("lower edge of the bulk", "median"):
        (line,) = (line for line in lines if line.startswith(name))
        assert line.endswith("unresolved")
    (line,) = (line for line in lines if line.startswith("upper edge"))
    assert "unresolved" not in line


def test_an_upper_edge_below_what_was_told_apart_is_unresolved(d):
    reach = d.spectrum.values[-3]
    part = Spectrum(d.spectrum.values, unresolved=(0.0, 1 - 2.9 / d.spectrum.dimension))
    assert part.values[part.above_unresolved()][0] == reach
    for edge, hidden in ((reach, False), (0.99 * reach, True)):
        comparison = dataclasses.replace(d.comparison, measured_edges=(None, edge))
        shown = text(dataclasses.replace(d, spectrum=part, comparison=comparison)).splitlines()
        (line,) = (line for line in shown if line.startswith("upper edge"))
        assert line.endswith("unresolved") is hidden


def test_four_outliers_are_shown_and_the_largest_comes_first(d):
    outliers = tuple(Outlier(float(s), 1.5) for s in np.arange(2.0, 8.0))
    assert "7, 6, 5, 4 ..." in text(dataclasses.replace(d, outliers=outliers))
    assert "none" in text(dataclasses.replace(d, outliers=()))


def test_outliers_of_the_twin_are_none_of_its_bulk(d):
    values = np.concatenate([d.law.icdf((np.arange(400) + 0.5) / 400), [2500.0]])
    beside = dataclasses.replace(
        d, twin=Spectrum(values), twin_comparison=compare_spectra(d.spectrum, Spectrum(values))
    )
    lines = text(beside).splitlines()
    (edge,) = (line for line in lines if line.startswith("upper edge"))
    (outliers,) = (line for line in lines if line.startswith("outliers"))
    assert float(edge.split()[-2]) < 2.0
    assert outliers.split()[-2] == "50"


def test_a_model_without_a_law_says_why(d):
    bare = dataclasses.replace(d, c=None, law=None, comparison=None, reason="too short.")
    assert "No prediction for the model: too short." in text(bare)
