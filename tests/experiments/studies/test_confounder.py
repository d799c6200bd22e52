import math

import pytest

from cases_runs import finished
from isometry.experiments.parts.study import PROFILES
from isometry.experiments.studies.confounder import CONVOLUTION, TRAINING, fit, plan
from isometry.experiments.studies.confounder_times import times

SIZE = {
    "images": "digits",
    "limit": 60,
    "activations": ["relu", "tanh"],
    "network": {"width": 20, "depth": 4, "side": 0},
    "training": {"steps": 6, "batch": 8, "learning_rate": 0.1, "evaluate_every": 2},
    "seeds": 2,
    "sweep_activations": ["relu"],
    "sweep_cs": [0.5, 1.0],
    "sweep_seeds": 1,
}


def test_a_plan_has_three_schemes_and_shares_runs_with_the_sweep():
    configs = plan(**SIZE)
    cells = [(c.settings["scheme"], c.settings["activation"], c.settings["value"]) for c in configs]
    assert len(configs) == 3 * 2 * 2 + 1
    assert cells.count(("equal c", "relu", 1.0)) == 2
    assert cells.count(("equal c", "relu", 0.5)) == 1
    assert {s for s, _, _ in cells} == {"equal sigma_w", "He", "equal c"}


def test_further_shared_sigma_ws_are_runs_of_their_own():
    configs = plan(**SIZE, shared_sigma_ws=[2.0])
    further = [c.settings for c in configs if c.settings["value"] == 2.0]
    assert {(s["scheme"], s["activation"], s["sigma_w"]) for s in further} == {
        ("equal sigma_w", "relu", 2.0), ("equal sigma_w", "tanh", 2.0)
    }  # fmt: skip
    assert len(configs) == len(plan(**SIZE)) + 2


def test_a_run_starts_at_the_wanted_c_and_at_one_loss(tmp_path):
    configs = [c for c in plan(**SIZE) if c.settings["scheme"] == "equal c"]
    runs = finished(tmp_path, configs[:3], fit)
    for run in runs:
        assert run.results["c"] == pytest.approx(run.config.settings["value"])
        assert run.results["first_loss"] == pytest.approx(math.log(10), rel=1e-5)
        assert run.results["diverged_at"] is None
        assert [record["step"] for record in run.history()] == [0, 2, 4, 6]
    table = times(runs, "equal c", 10.0)
    assert table == {"relu": {0: 0.0, 1: 0.0}, "tanh": {0: 0.0}}
    assert times(runs, "equal c", 0.0)["relu"] == {0: None, 1: None}
    assert times(runs, "He", 1.0) == {}


def test_the_full_training_is_what_the_readme_promises():
    full = TRAINING.sizes["full"]
    assert len(full["activations"]) >= 8
    assert full["seeds"] == 3
    assert (full["network"]["width"], full["network"]["depth"]) == (256, 20)


@pytest.mark.parametrize("study", [TRAINING, CONVOLUTION], ids=lambda study: study.name)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_convolutional_study_is_convolutional_and_the_other_one_is_not(study, profile):
    assert (study.sizes[profile]["network"]["side"] > 0) is (study is CONVOLUTION)
