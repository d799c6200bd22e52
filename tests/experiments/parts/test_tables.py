import pytest

from cases_runs import configs, product
from isometry.experiments.engine.runs import find_run, perform
from isometry.experiments.parts.tables import grouped, line_figure, slope


def test_runs_are_grouped_by_their_settings(tmp_path):
    runs = []
    for config in [*configs(2, size=4), *configs(3, size=2)]:
        perform(tmp_path, config, product)
        runs.append(find_run(tmp_path, config))
    rows = grouped(runs, ("size",), lambda members: {"number": len(members)})
    assert rows == [{"size": 2, "number": 3}, {"size": 4, "number": 2}]


def test_a_power_law_gives_its_exponent():
    assert slope([1, 2, 4], [3, 1.5, 0.75]) == pytest.approx(-1)
    assert slope([1], [3]) is None


def test_a_figure_draws_every_curve_even_an_empty_one():
    figure = line_figure({"one": [(1, 2), (2, 1)], "none": []}, "x", "y", "Caption.")
    assert figure.caption == "Caption."
    assert ">one<" in figure.svg
    assert ">none<" in figure.svg
