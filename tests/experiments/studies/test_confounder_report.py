import math

import pytest

from cases_runs import training_run, training_runs, unshown
from isometry.experiments.parts.rungs import SCHEMES
from isometry.experiments.studies.confounder_report import summarise


def verdict(folder, at_equal_c):
    folder.mkdir()
    speeds = {scheme: {"relu": 20.0, "tanh": 80.0} for scheme in SCHEMES} | {"equal c": at_equal_c}
    return summarise(training_runs(folder, speeds), levels=[1.0], c=1.0, name="training")


def test_the_confounder_hypothesis_passes_and_fails_where_it_must(tmp_path):
    small = verdict(tmp_path / "small", {"relu": 40.0, "tanh": 44.0})
    large = verdict(tmp_path / "large", {"relu": 20.0, "tanh": 60.0})
    assert small.hypotheses[0].holds
    assert large.hypotheses[0].holds is False
    assert "at He" in small.hypotheses[1].statement
    assert "95 % interval" in small.hypotheses[0].remark
    assert small.numbers["times"][0]["equal sigma_w"] == 20.0
    assert small.numbers["sweep"] == []


def test_what_is_not_reached_counts_as_the_last_step_and_is_told(tmp_path):
    found = verdict(tmp_path / "runs", {"relu": 40.0, "tanh": 1000.0})
    spread = next(row for row in found.numbers["spread"] if row["scheme"] == "equal c")
    assert spread["not reached"] == 2
    assert spread["max/min"] == 100 / 40
    assert "not reached: 2 runs at equal c" in found.hypotheses[0].remark


def test_a_spread_of_runs_that_miss_the_loss_is_no_measurement(tmp_path):
    speeds = {scheme: {"relu": 20.0, "tanh": 80.0} for scheme in SCHEMES}
    speeds["He"] = {"relu": 20.0, "tanh": 1000.0}
    found = summarise(training_runs(tmp_path, speeds), levels=[1.0], c=1.0, name="training")
    _, against_he, reach = found.hypotheses
    assert against_he.verdict == "not measured"
    assert ">equal c over He<" in found.readings[0].blocks[1].svg
    assert "Too many are not reached at He" in against_he.remark
    assert reach.number == 0.5
    assert reach.holds


def test_a_sweep_finds_the_best_c(tmp_path):
    speeds = {scheme: {"relu": 30.0, "tanh": 40.0} for scheme in SCHEMES}
    sweep = [
        training_run(tmp_path, "equal c", phi, c, 0, speed)
        for phi in ("relu", "tanh")
        for c, speed in ((0.1, 50.0), (0.5, 20.0), (8.0, 90.0))
    ]
    found = summarise(
        [*training_runs(tmp_path, speeds), *sweep], levels=[1.0], c=1.0, name="training"
    )
    rows = found.numbers["sweep"]
    assert {(row["activation"], row["c"]) for row in rows} == {
        (phi, c) for phi in ("relu", "tanh") for c in (0.1, 0.5, 1.0, 8.0)
    }
    same, inside, slow = found.hypotheses[3:]
    assert same.number == 1.0
    assert inside.number == 1.0
    assert slow.number == 90.0 / 20.0
    assert [len(reading.hypotheses) for reading in found.readings] == [2, 1, 3]
    assert unshown(found) == []


def test_a_larger_shared_sigma_w_is_a_claim_of_its_own(tmp_path):
    speeds = {scheme: {"relu": 30.0, "tanh": 40.0} for scheme in SCHEMES}
    further = [
        training_run(tmp_path, "equal sigma_w", phi, 2.0, seed, speed)
        for phi, speed in (("relu", 10.0), ("tanh", 90.0))
        for seed in (0, 1)
    ]
    found = summarise(
        [*training_runs(tmp_path, speeds), *further], levels=[1.0], c=1.0, name="training"
    )
    first, _, second, _ = found.hypotheses
    assert first.number == 1.0
    assert "at equal sigma_w = 2 (" in second.statement
    assert second.number == pytest.approx(math.log(4 / 3) / math.log(9))
    assert [row["scheme"] for row in found.numbers["spread"]] == [*SCHEMES, "equal sigma_w = 2"]


def test_one_seed_has_no_interval_and_one_activation_no_best_c_in_common(tmp_path):
    runs = [
        training_run(tmp_path, scheme, phi, 1.0, 0, speed)
        for scheme in SCHEMES
        for phi, speed in (("relu", 30.0), ("tanh", 1000.0 if scheme == "equal c" else 40.0))
    ]
    runs.append(training_run(tmp_path, "equal c", "relu", 0.1, 0, 20.0))
    found = summarise(runs, levels=[1.0], c=1.0, name="training")
    assert "one seed, hence no interval" in found.hypotheses[0].remark
    assert "95 % interval" not in found.hypotheses[0].remark
    same = next(item for item in found.hypotheses if "does not depend" in item.statement)
    assert same.tested.endswith("best c: relu 0.1")
    assert same.verdict == "not measured"
