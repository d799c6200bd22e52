import math

import numpy as np
import pytest

from cases_runs import finished
from isometry.errors import TheoryWarning
from isometry.experiments.parts.rungs import RUNGS, TOP
from isometry.experiments.parts.study import PROFILES
from isometry.experiments.studies.confounder import fit
from isometry.experiments.studies.ladder import CONVOLUTION, DEEP, ENDS, LADDER, LATE, plan

SIZE = {
    "images": "digits",
    "limit": 60,
    "activations": ["relu", "tanh"],
    "network": {"width": 20, "depth": 4, "side": 0},
    "training": {"steps": 6, "batch": 8, "learning_rate": 0.1, "evaluate_every": 2},
    "seeds": 2,
    "sweep_cs": [0.5, 1.0],
    "sweep_seeds": 1,
}


def test_a_plan_has_every_rung_and_shares_runs_with_the_sweep():
    configs = plan(**SIZE)
    cells = [(c.settings["rung"], c.settings["activation"], c.settings["value"]) for c in configs]
    assert len(configs) == len(RUNGS) * 2 * 2 + 2
    assert cells.count((TOP, "relu", 1.0)) == 2
    assert cells.count((TOP, "tanh", 0.5)) == 1


@pytest.mark.filterwarnings("ignore:`sign` jumps")
def test_what_cannot_be_brought_to_a_rung_is_left_out_and_said():
    with pytest.warns(TheoryWarning, match="quadratic share: `act` is 'sign'"):
        configs = plan(**{**SIZE, "activations": ["relu", "sign"], "rungs": [RUNGS[0], TOP]})
    rungs = [c.settings["rung"] for c in configs if c.settings["activation"] == "sign"]
    assert set(rungs) == {RUNGS[0]}


@pytest.mark.parametrize("readout", ["standardised", "raw"])
def test_a_run_of_the_top_starts_at_c_and_at_one_loss_with_either_readout(tmp_path, readout):
    every = plan(**{**SIZE, "rungs": [TOP], "raw_rungs": [TOP], "seeds": 1, "sweep_cs": []})
    configs = [c for c in every if c.settings["readout"] == readout]
    assert len(configs) == 2
    for run in finished(tmp_path, configs, fit):
        assert run.results["c"] == pytest.approx(1.0, rel=1e-6)
        assert run.results["first_loss"] == pytest.approx(math.log(10), rel=1e-5)
        assert run.results["last_loss"] < run.results["first_loss"]


def test_further_rates_are_runs_of_the_ends_with_one_seed():
    configs = plan(**{**SIZE, "rates": [0.5, 2.0], "sweep_cs": []})
    further = [c for c in configs if c.settings["learning_rate"] != 0.1]
    assert {c.settings["learning_rate"] for c in further} == {0.05, 0.2}
    assert {c.settings["rung"] for c in further} == set(ENDS)
    assert len(further) == 2 * len(ENDS) * 2


def test_a_run_with_test_images_follows_their_accuracy(tmp_path):
    asked = {**SIZE, "rungs": [TOP], "seeds": 1, "sweep_cs": [], "test_limit": 50}
    for run in finished(tmp_path, plan(**asked), fit):
        accuracies = [record["accuracy"] for record in run.history()]
        assert len(accuracies) == 4
        assert run.results["test_accuracy"] == accuracies[-1]
        assert all((50 * a).is_integer() for a in np.round(accuracies, 9).tolist())


def test_the_full_ladder_is_what_the_page_promises():
    full = LADDER.sizes["full"]
    assert len(full["activations"]) >= 10
    assert (full["seeds"], tuple(full["raw_rungs"])) == (3, ENDS)
    assert len(full["sweep_cs"]) >= 8
    assert DEEP.sizes["full"]["network"]["depth"] == 50
    assert LATE.sizes["full"]["training"]["steps"] == 10000


@pytest.mark.parametrize("study", [LADDER, CONVOLUTION, DEEP, LATE], ids=lambda study: study.name)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_convolutional_ladder_is_convolutional_and_no_other_one_is(study, profile):
    assert (study.sizes[profile]["network"]["side"] > 0) is (study is CONVOLUTION)
