import errno
import threading
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from cases_runs import (
    configs,
    contents,
    deadly,
    failing,
    product,
    product_in_bad_company,
)
from isometry.experiments.engine.executors import SerialExecutor, open_executor
from isometry.experiments.engine.locks import claimed
from isometry.experiments.engine.runs import RunConfig, find_run
from isometry.experiments.engine.sweeps import sweep

SERIAL = partial(open_executor, "serial")
TWO = partial(open_executor, "process", 2)


def test_a_sweep_does_what_is_missing_and_says_how_far_it_is(tmp_path):
    seen = []
    first = sweep(configs(2), tmp_path, product, open_executor=SERIAL)
    second = sweep(
        configs(5) + configs(3), tmp_path, product, open_executor=SERIAL, progress=seen.append
    )
    assert (first.made, first.found, first.failed) == (2, 0, {})
    assert (second.made, second.found, second.failed) == (3, 2, {})
    assert [(p.done, p.total, p.task) for p in seen] == [(n, 5, "product") for n in (3, 4, 5)]
    assert seen[-1].seconds_left == 0
    assert seen[0].seconds_left > 0


def test_processes_compute_the_bits_of_the_serial_sweep_and_a_killed_worker_loses_nothing(tmp_path):
    sweep(configs(6), tmp_path / "serial", product, open_executor=SERIAL)
    report = sweep(configs(6), tmp_path / "process", product_in_bad_company, open_executor=TWO)
    assert (tmp_path / "process" / "killed").exists()
    assert report.made + report.found == 6
    assert report.failed == {}
    (tmp_path / "process" / "killed").unlink()
    assert contents(tmp_path / "serial") == contents(tmp_path / "process")


def test_different_seeds_differ(tmp_path):
    sweep(configs(2), tmp_path, product, open_executor=SERIAL)
    first, second = (find_run(tmp_path, config).results for config in configs(2))
    assert first != second


def test_a_failed_run_does_not_stop_the_others(tmp_path):
    report = sweep(configs(3), tmp_path, failing, open_executor=SERIAL)
    assert (report.made, report.found) == (2, 0)
    assert report.failed == {
        configs(2)[1].id: "product: ValueError: `x` is 1; expected another number."
    }
    again = sweep(configs(3), tmp_path, product, open_executor=SERIAL)
    assert (again.made, again.found, again.failed) == (1, 2, {})


@pytest.mark.slow
def test_workers_that_always_die_end_the_sweep(tmp_path):
    with pytest.raises(RuntimeError, match=r"workers died 3 times in a row .* fewer workers"):
        sweep(configs(1), tmp_path, deadly, open_executor=TWO)


def test_a_broken_executor_is_opened_anew_three_times(tmp_path):
    opened = []

    class Broken(SerialExecutor):
        def submit(self, fn, /, *args, **kwargs):
            raise BrokenExecutor

    def open_broken():
        opened.append(Broken())
        return opened[-1]

    with pytest.raises(RuntimeError, match=r"workers died 3 times in a row at run"):
        sweep(configs(2), tmp_path, product, open_executor=open_broken)
    assert len(opened) == 3


def test_a_run_that_another_one_does_is_waited_for(tmp_path):
    config = configs(1)[0]
    (tmp_path / ".claims").mkdir()
    with claimed(tmp_path / ".claims", config.id):
        waiting = threading.Thread(
            target=sweep, args=([config], tmp_path, product), kwargs={"open_executor": SERIAL}
        )
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert find_run(tmp_path, config) is None
    waiting.join(10)
    assert find_run(tmp_path, config) is not None


def test_a_folder_that_cannot_be_written_stops_the_sweep(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"`out` is .*cannot be written"):
        sweep(configs(1), tmp_path / "file" / "runs", product, open_executor=SERIAL)
    (tmp_path / ".claims").touch()
    with pytest.raises(OSError, match=r"`out` is .*cannot be written"):
        sweep(configs(1), tmp_path, product, open_executor=SERIAL)


def full_at_seed_2(config, folder):
    if config.seed == 2:
        raise OSError(errno.ENOSPC, "No space left on device")
    return product(config, folder)


@pytest.mark.parametrize("opened", [SERIAL, TWO], ids=["serial", "process"])
def test_a_full_disk_stops_the_sweep_and_keeps_what_is_finished(tmp_path, opened):
    with pytest.raises(OSError, match=r"`out` is .*No space left on device.*make room"):
        sweep(configs(4), tmp_path, full_at_seed_2, open_executor=opened, window=1)
    assert [find_run(tmp_path, config) is not None for config in configs(3)] == [True, True, False]
    assert list((tmp_path / ".claims").iterdir()) == list((tmp_path / ".drafts").iterdir()) == []


def refused_at_seed_1(config, folder):
    if config.seed == 1:
        raise ConnectionRefusedError("the images' server")
    return product(config, folder)


def test_an_error_of_the_system_in_a_task_is_that_run_s_own(tmp_path):
    report = sweep(configs(3), tmp_path, refused_at_seed_1, open_executor=SERIAL)
    assert report.made == 2
    assert list(report.failed.values()) == [
        "product: RuntimeError: ConnectionRefusedError: the images' server"
    ]


def test_a_task_whose_name_leaves_the_root_stops_before_the_first_run(tmp_path):
    plan = [*configs(1), RunConfig("../outside", 0, {})]
    with pytest.raises(ValueError, match=r"`task` is '../outside'"):
        sweep(plan, tmp_path / "runs", product, open_executor=SERIAL)
    assert list((tmp_path / "runs").iterdir()) == []


class Scheduler(Executor):
    """An executor whose calls are given up after some number of them, as by a scheduler's death."""

    def __init__(self, rng):
        self.rng, self.deaths = rng, 0

    @contextmanager
    def __call__(self):
        self.left = int(self.rng.integers(1, 5))
        yield self

    def submit(self, fn, /, *args):
        if self.left == 0:
            self.deaths += 1
            future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future
        self.left -= 1
        return SerialExecutor().submit(fn, *args)


def test_a_scheduler_that_dies_thirty_times_loses_nothing(tmp_path):
    scheduler = Scheduler(np.random.default_rng(0))
    plan = [RunConfig("product", seed, {"size": 3}) for seed in range(90)]
    report = sweep(plan, tmp_path, product, open_executor=scheduler, window=3)
    assert scheduler.deaths >= 30
    assert report.made == 90
    assert report.failed == {}
    assert all(find_run(tmp_path, config) is not None for config in plan)
    assert list((tmp_path / ".claims").iterdir()) == list((tmp_path / ".drafts").iterdir()) == []
