import numpy as np
import pytest

from isometry.experiments.engine.records import Outcome, Run, RunConfig


def test_a_config_is_its_text_and_its_text_gives_its_id():
    config = RunConfig("product", 3, {"b": 1.5, "a": [1, "x"]})
    assert config.text() == '{"seed":3,"settings":{"a":[1,"x"],"b":1.5},"task":"product"}'
    assert RunConfig.from_text(config.text()) == config
    assert RunConfig("product", 3, {"a": [1, "x"], "b": 1.5}).id == config.id
    assert RunConfig("product", 4, config.settings).id != config.id
    assert len(config.id) == 16


def test_two_configs_share_no_random_numbers():
    first, second = (RunConfig("t", 0, {"n": n}).rng().standard_normal(4) for n in (1, 2))
    assert not np.any(first == second)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("t", -1, {}), ValueError, "`seed` is -1; expected an integer >= 0"),
        (("t", True, {}), ValueError, "`seed` is True; expected an integer"),
        (("t", 0, {"x": float("nan")}), ValueError, "`settings` are .* finite numbers"),
        (("t", 0, {"x": object()}), TypeError, "`settings` are .* JSON"),
    ],
)
def test_a_config_that_is_not_json_is_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        RunConfig(*arguments)


def test_a_config_of_another_version_is_read():
    config = RunConfig("product", 3, {"a": 1})
    assert RunConfig.from_text(config.text()[:-1] + ',"schema":2}') == config


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome({"x": np.float64("nan")}), r"`results\['x'\]` is nan"),
        (Outcome({"x": {"y": [1.0, -np.inf]}}), r"`results\['x'\]\['y'\]\[1\]` is -inf"),
        (Outcome({}, [{"loss": 1.0}, {"loss": np.nan}]), r"`history\[1\]\['loss'\]` is nan"),
    ],
)
def test_a_result_that_is_not_finite_is_named(outcome, text):
    with pytest.raises(ValueError, match=text + "; expected finite numbers. Return None"):
        outcome.checked()


def test_a_run_says_which_arrays_are_not_finite():
    arrays = {"a": np.ones(2), "b": np.array([np.nan]), "c": np.array([1]), "d": np.array([True])}
    assert Outcome({}, arrays=arrays).checked()["not_finite"] == ["b"]


def test_a_run_knows_its_place(tmp_path):
    config = RunConfig("product", 0, {})
    record = {"results": {"y": 1.0}, "seconds": 2, "versions": {}, "new": None}
    asked = {"task": "product", "seed": 0, "settings": {}, "new": 1}
    place = tmp_path / "product" / config.id
    run = Run.from_files(place, asked, record)
    assert (run.config, run.results, run.seconds) == (config, {"y": 1.0}, 2.0)
    with pytest.raises(ValueError, match="the config of another run"):
        Run.from_files(place.with_name("0" * 16), asked, record)
