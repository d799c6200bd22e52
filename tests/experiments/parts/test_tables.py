import math

import pytest

from cases_runs import configs, product
from isometry.experiments.engine.runs import find_run, perform
from isometry.experiments.parts.tables import (
    grouped,
    line_figure,
    or_nan,
    point_figure,
    slope,
)


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


@pytest.mark.parametrize("draw", [line_figure, point_figure])
def test_a_bound_of_the_claim_is_drawn_and_named_once(draw):
    points = {"one": [(1, 2.0), (2, or_nan(None)), (3, 1.0)], "none": []}
    plain = draw(points, "x", "y", "Caption.")
    bounded = draw(points, "x", "y", "Caption.", wanted=[0.5, 3.0])
    assert ">wanted<" not in plain.svg
    assert bounded.svg.count(">wanted<") == 1
    assert ">one<" in bounded.svg


@pytest.mark.parametrize("draw", [line_figure, point_figure])
@pytest.mark.parametrize("height", [0.0, math.nan])
def test_where_no_value_has_a_logarithm_the_axis_is_linear(draw, height):
    assert ">one<" in draw({"one": [(1, height), (2, height)]}, "x", "y", "Caption.").svg


def test_only_long_words_below_an_axis_are_slanted():
    curve = {"one": [(0, 1.0), (1, 2.0)]}
    slanted = [
        "rotate(-20" in line_figure(curve, "x", "y", "Caption.", ticks=ticks).svg
        for ticks in (
            ["2.2", "0.1"],
            ["a name of many letters", "another one of many more letters"],
        )
    ]
    assert slanted == [False, True]


def test_what_was_not_measured_is_left_out():
    assert math.isnan(or_nan(None))
    assert or_nan(0.0) == 0.0
