import errno
import json
import multiprocessing
import resource
import signal
import time
from collections import Counter

import numpy as np
import pytest
from safetensors import SafetensorError

from cases_runs import configs, contents, do_all, logged, product, slow_once
from isometry.experiments.engine import storage
from isometry.experiments.engine.runs import Outcome, RunConfig, all_runs, find_run, perform


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
        with pytest.raises(OSError, match=r"`out` is .*cannot be written \(File too large\)"):
            perform(tmp_path, configs(1)[0], large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert find_run(tmp_path, configs(1)[0]) is None
    assert [list((tmp_path / name).iterdir()) for name in (".drafts", ".claims")] == [[], []]
    assert perform(tmp_path, configs(1)[0], product) == "made"


def test_no_space_left_is_named(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*make room") as caught:
        perform(tmp_path, configs(1)[0], product)
    assert caught.value.errno == errno.ENOSPC
    assert list((tmp_path / ".drafts").iterdir()) == []


def test_a_full_disk_spares_the_checkpoint(tmp_path, monkeypatch):
    def trained(config, folder):
        (folder / "checkpoint").write_text("long work")
        return product(config, folder)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(storage.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            perform(tmp_path, configs(1)[0], trained)
    (draft,) = (tmp_path / ".drafts").iterdir()
    assert (draft / "checkpoint").read_text() == "long work"
    assert perform(tmp_path, configs(1)[0], product) == "made"
    assert list((tmp_path / ".drafts").iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_a_task_fills_is_named(tmp_path, error):
    def task(config, folder):
        raise error

    with pytest.raises(OSError, match=r"`out` is .*No space left on device.*make room"):
        perform(tmp_path, configs(1)[0], task)
    assert list((tmp_path / ".drafts").iterdir()) == []


def test_another_error_of_a_task_is_its_own(tmp_path):
    def task(config, folder):
        raise ConnectionRefusedError("the images' server")

    with pytest.raises(ConnectionRefusedError, match="the images' server"):
        perform(tmp_path, configs(1)[0], task)


@pytest.mark.parametrize(
    "name", ["../outside", "/outside", "a/b", "a\\b", "", ".", "..", ".claims", "a\0b", "C:x",
             "x" * 101, "dot."],
)  # fmt: skip
def test_a_task_whose_name_is_no_folder_of_the_root_is_refused(tmp_path, name):
    root = tmp_path / "below" / "runs"
    config = RunConfig(name, 0, {})
    for call in (lambda: perform(root, config, product), lambda: find_run(root, config)):
        with pytest.raises(ValueError, match=r"`task` is .*; expected a name of letters"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_results_must_be_finite(tmp_path):
    with pytest.raises(ValueError, match=r"`results\['x'\]` is nan; expected finite numbers"):
        perform(tmp_path, configs(1)[0], lambda *_: Outcome({"x": float("nan")}))
    assert find_run(tmp_path, configs(1)[0]) is None
    assert list((tmp_path / ".drafts").iterdir()) == []


def test_an_array_that_is_not_finite_is_marked(tmp_path):
    def task(config, folder):
        return Outcome({"y": 1.0}, arrays={"good": np.ones(2), "bad": np.array([1.0, np.inf])})

    perform(tmp_path, configs(1)[0], task)
    run = find_run(tmp_path, configs(1)[0])
    assert run.not_finite == ("bad",)
    assert run.rows()[0]["not finite"] == "bad"


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
    assert set(record) == {"results", "seconds", "versions", "sha256", "not_finite"}


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (None, "`task` returned NoneType; expected an Outcome"),
        ({"y": 1.0}, "`task` returned dict; expected an Outcome"),
        (Outcome({}, arrays={"a": np.array([None])}), r"`arrays\['a'\]` has the type object"),
        (Outcome({}, arrays={"a": np.array(["x"])}), r"`arrays\['a'\]` has the type <U1"),
    ],
)
def test_what_cannot_be_kept_is_its_run_s_error_and_not_the_folder_s(tmp_path, outcome, text):
    with pytest.raises(TypeError, match=text):
        perform(tmp_path, configs(1)[0], lambda config, folder: outcome)
    assert list((tmp_path / ".drafts").iterdir()) == []
