import math

import pytest

from cases_runs import training_run, training_runs
from isometry.experiments.parts.rungs import SCHEMES
from isometry.experiments.studies.confounder_checks import (
    chosen_level,
    correlation,
    ratio,
    ratios_by_level,
    shared_sigma_ws,
)
from isometry.experiments.studies.confounder_report import summarise


def test_the_ratio_is_that_of_the_log_spreads():
    ours = {"a": {0: 10.0}, "b": {0: 20.0}}
    theirs = {"a": {0: 10.0}, "b": {0: None}}
    assert ratio(ours, theirs, 40) == pytest.approx(0.5)


def test_the_correlation_is_of_the_log_times_over_activations():
    ours = {"a": {0: 10.0}, "b": {0: 20.0}, "c": {0: 40.0}}
    squared = {phi: {0: row[0] ** 2} for phi, row in ours.items()}
    reversed_ = {phi: {0: 1e4 / row[0]} for phi, row in ours.items()}
    assert correlation(ours, squared, 99) == pytest.approx(1.0)
    assert correlation(ours, reversed_, 99) == pytest.approx(-1.0)
    assert correlation(ours, {phi: {0: None} for phi in ours}, 99) is None
    assert correlation({"a": {0: 10.0}, "b": {0: 20.0}}, squared, 99) is None


def test_the_further_shared_sigma_ws_are_sorted_and_keep_to_the_activations(tmp_path):
    made = [
        training_run(tmp_path, "equal sigma_w", phi, value, 0, 30.0)
        for value in (4.0, 1.0, 2.0)
        for phi in ("relu", "tanh")
    ]
    found = shared_sigma_ws(made, {"tanh": {}}, 1.0)
    assert list(found) == ["equal sigma_w = 2", "equal sigma_w = 4"]
    assert found["equal sigma_w = 4"] == {"tanh": {0: pytest.approx(30.0)}}


def test_one_activation_has_no_ratio(tmp_path):
    made = training_runs(tmp_path, {scheme: {"relu": 30.0} for scheme in SCHEMES})
    (row,) = ratios_by_level(made, {"relu"}, [1.0], 100)
    assert row["over He"] is None
    assert row["reached at equal c"] == 1.0


def test_the_ratio_is_told_at_other_losses_where_most_runs_reach_them(tmp_path):
    speeds = {scheme: {"relu": 40.0, "tanh": 64.0} for scheme in SCHEMES}
    speeds["equal c"] = {"relu": 40.0, "tanh": 48.0}
    speeds["He"] = {"relu": 40.0, "tanh": 10_000.0}
    rows = summarise(
        training_runs(tmp_path, speeds), levels=[1.1, 1.0, 0.9, 0.8, 0.7], c=1.0, name="training"
    ).numbers["levels"]
    assert [row["training loss"] for row in rows] == [1.1, 1.0, 0.9, 0.8, 0.7]
    for row in rows:
        assert row["over equal sigma_w"] == pytest.approx(math.log(1.2) / math.log(1.6), rel=1e-6)
        assert row["over He"] is None
        assert row["reached at He"] == 0.5


def test_the_level_is_the_lowest_that_enough_runs_of_every_scheme_reach():
    def row(level, he, equal_c):
        return {"training loss": level, "reached at equal sigma_w": 1.0} | {
            "reached at He": he, "reached at equal c": equal_c
        }  # fmt: skip

    rows = [row(2.1, 1.0, 1.0), row(2.0, 0.75, 0.8), row(1.9, 0.74, 0.9), row(1.8, 0.9, 0.1)]
    assert chosen_level(rows) == 2.0
    assert chosen_level(rows[2:]) == 1.9
