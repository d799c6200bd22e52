import pytest

from cases_runs import training_run
from isometry.experiments.parts.rungs import TOP
from isometry.experiments.studies.ladder_curve import curve_hypotheses, sweep_figure, sweep_rows

ACTS = ("relu", "tanh", "gelu")
SWEEP = [(0.1, (90.0, 91.0, 90.0)), (2.0, (30.0, 31.0, 30.0)), (8.0, (500.0, 500.0, 500.0))]


def curve(folder, sweep):
    """Return rows and claims of runs whose time to loss 1 at a c is the speed; 40 or so at 1."""
    runs = [
        training_run(folder, TOP, phi, c, 0, speed, rung=TOP)
        for c, speeds in [*sweep, (1.0, (40.0, 41.0, 40.0))]
        for phi, speed in zip(ACTS, speeds, strict=True)
    ]
    swept = sweep_rows(runs, 1.0)
    return swept, curve_hypotheses(swept, 100, 1.0, "ladder")


def test_one_curve_passes_and_another_best_c_fails(tmp_path):
    swept, claims = curve(tmp_path, SWEEP)
    assert [item.holds for item in claims] == [True, True, True]
    assert "<svg" in sweep_figure(swept, 1.0).svg


def test_an_activation_off_the_curve_fails(tmp_path):
    _, claims = curve(tmp_path, [(0.1, (90.0, 20.0, 90.0)), (2.0, (30.0, 80.0, 30.0))])
    assert claims[0].holds is False
    assert claims[2].number == pytest.approx(20.0)


def test_what_is_not_reached_by_some_counts_as_apart(tmp_path):
    _, claims = curve(tmp_path, [(0.1, (90.0, 900.0, 90.0)), (2.0, (30.0, 900.0, 30.0))])
    assert claims[1].number == 2.0
    assert claims[1].holds is False


def test_of_one_c_or_one_activation_no_best_c_is_in_common(tmp_path):
    swept, _ = curve(tmp_path, SWEEP)
    rows = [row for row in swept if row["c"] in (0.1, 1.0)]
    alone = [row | {"steps": None} if row["activation"] != "relu" else row for row in rows]
    assert curve_hypotheses(rows, 100, 1.0, "ladder")[2].verdict == "pass"
    assert curve_hypotheses(alone, 100, 1.0, "ladder")[2].verdict == "not measured"
