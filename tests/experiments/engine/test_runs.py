import errno
import json
import multiprocessing
import resource
import signal
import time
from collections import Counter

import numpy as np
import pytest

from cases_runs import configs, contents, do_all, logged, product, slow_once
from isometry.experiments.engine import runs
from isometry.experiments.engine.runs import Outcome, RunConfig, all_runs, find_run, perform


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


def test_a_run_is_read_back_as_it_was_made_and_made_once(tmp_path):
    (config,) = configs(1)
    assert perform(tmp_path, config, product) == "made"
    assert perform(tmp_path, config, product) == "found"
    run, expected = find_run(tmp_path, config), product(config, None)
    assert run.config == config
    assert run.results == expected.results
    assert run.history() == expected.history
    assert {k: v.tobytes() for k, v in run.arrays().items()} == {
        k: v.tobytes() for k, v in expected.arrays.items()
    }
    assert run.versions["numpy"] == np.__version__
    assert run.rows()[0] == {
        "task": "product", "id": config.id, "seed": 0, "size": 40, **expected.results,
        "seconds": run.seconds,
    }  # fmt: skip
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "arrays.safetensors", "config.json", "history.jsonl", "run.json",
    ]  # fmt: skip
    assert [found.config.id for found in all_runs(tmp_path)] == [config.id]


def test_a_claimed_run_is_left_to_its_owner(tmp_path):
    (config,) = configs(1)

    def nested(config, folder):
        assert perform(tmp_path, config, product) == "busy"
        return product(config, folder)

    assert perform(tmp_path, config, nested) == "made"


def test_a_run_that_lost_its_claim_is_not_published(tmp_path):
    (config,) = configs(1)

    def robbed(config, folder):
        next((tmp_path / ".claims").iterdir()).unlink()
        return product(config, folder)

    assert perform(tmp_path, config, robbed) == "busy"
    assert find_run(tmp_path, config) is None


def test_checkpoints_are_found_again_and_removed_at_the_end(tmp_path):
    (config,) = configs(1)

    def interrupted(config, folder):
        (folder / "checkpoint").write_text("half")
        (folder / "more").mkdir()
        raise KeyboardInterrupt

    def resumed(config, folder):
        assert (folder / "checkpoint").read_text() == "half"
        return product(config, folder)

    with pytest.raises(KeyboardInterrupt):
        perform(tmp_path, config, interrupted)
    assert find_run(tmp_path, config) is None
    assert perform(tmp_path, config, resumed) == "made"
    assert not (find_run(tmp_path, config).folder / "checkpoint").exists()


def test_a_run_killed_with_signal_9_is_done_again(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    child = spawn.Process(target=do_all, args=(tmp_path, 1, slow_once))
    child.start()
    try:
        for _ in range(1000):
            if (tmp_path / "started").exists() or not child.is_alive():
                break
            time.sleep(0.05)
        assert perform(tmp_path, configs(1)[0], product) == "busy"
    finally:
        child.kill()
        child.join()
    assert perform(tmp_path, configs(1)[0], product) == "made"


@pytest.mark.slow
def test_two_processes_on_one_folder_never_do_one_run_twice(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(2) as pool:
        words = pool.starmap(do_all, [(tmp_path, 12, logged)] * 2)
    calls = Counter((tmp_path / "calls").read_text().split())
    assert set(calls.values()) == {1}
    assert Counter(words[0] + words[1])["made"] == len(calls) == 12


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"`out` is .*file.*cannot be written .* choose another"):
        perform(tmp_path / "file" / "runs", configs(1)[0], product)


def test_a_full_disk_is_named_and_leaves_no_run(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def large(config, folder):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        return Outcome({}, arrays={"zeros": np.zeros(100_000)})

    try:
        with pytest.raises(Exception, match=r"`out` is .*cannot be written|File too large"):
            perform(tmp_path, configs(1)[0], large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert find_run(tmp_path, configs(1)[0]) is None
    assert perform(tmp_path, configs(1)[0], product) == "made"


def test_no_space_left_is_named(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs, "save_file", full)
    with pytest.raises(OSError, match=r"No space left on device.*make room") as caught:
        perform(tmp_path, configs(1)[0], product)
    assert caught.value.errno == errno.ENOSPC


def test_results_must_be_finite(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        perform(tmp_path, configs(1)[0], lambda *_: Outcome({"x": float("nan")}))
    assert find_run(tmp_path, configs(1)[0]) is None


def test_a_folder_that_is_missing_has_no_runs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`root` is .*expected the folder"):
        list(all_runs(tmp_path / "nowhere"))


def test_the_same_run_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        do_all(tmp_path / name, 2, product)
    first, second = (contents(tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert len(first) == 6
    record = json.loads(next((tmp_path / "a").rglob("run.json")).read_text())
    assert set(record) == {"results", "seconds", "versions"}
