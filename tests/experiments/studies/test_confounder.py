import math

import numpy as np
import pytest

from cases_runs import finished
from isometry.experiments.studies.confounder import bootstrap, fit, log_spread, plan, times

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


def test_the_spread_is_the_deviation_of_the_log_of_the_times():
    table = {"a": {0: math.e, 1: math.e}, "b": {0: math.e**3, 1: math.e**3}}
    assert log_spread(table, censored=100) == pytest.approx(math.sqrt(2))
    assert log_spread({"a": {0: math.e}, "b": {0: None}}, censored=math.e**3) == pytest.approx(
        math.sqrt(2)
    )


def test_the_interval_contains_the_ratio_and_narrows_with_agreeing_seeds():
    def table(spread, noise):
        rng = np.random.default_rng(0)
        return {
            name: {s: math.exp(4 + spread * k + noise * rng.standard_normal()) for s in range(5)}
            for k, name in enumerate("abcd")
        }

    def width(noise):
        low, high = bootstrap(
            table(0.2, noise), table(0.5, noise), censored=1e9, rng=np.random.default_rng(1),
            draws=200,
        )  # fmt: skip
        assert low <= 0.4 + 3 * noise
        assert high >= 0.4 - 3 * noise
        return high - low

    assert width(0.001) < width(0.1) / 5
