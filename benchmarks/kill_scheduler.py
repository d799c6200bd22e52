"""Does a sweep lose anything where its dask scheduler is killed, thirty times?

Two workers stand for two hosts: processes with working folders of their own, which share nothing
but the folder of runs. Whenever a few more runs are finished the scheduler gets signal 9 and is
started again at its address, the workers with it. Afterwards every run must be there once, with the
bytes that one process alone makes, and no claim and no draft may be left.

    python benchmarks/kill_scheduler.py [--kills 30] [--every 2]
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np

from _common import machine, show
from isometry.experiments.engine.executors import open_executor
from isometry.experiments.engine.runs import Outcome, RunConfig, find_run
from isometry.experiments.engine.sweeps import sweep


def product(config, folder):  # noqa: ARG001 (a task's second argument)
    """Multiply a random matrix by itself, which takes no time, and wait a little."""
    matrix = config.rng().standard_normal((20, 20))
    time.sleep(config.settings["seconds"])
    return Outcome({"trace": float(np.trace(matrix @ matrix))}, arrays={"square": matrix @ matrix})


class Hosts:
    """A scheduler and two workers, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._folder = folder
        self._workers: list[subprocess.Popen] = []
        self._scheduler = self._started("scheduler", "--port", str(self.port))
        self._start_workers()

    def kill_scheduler(self) -> None:
        """Kill the scheduler as a failing host would, and start all again at the same address."""
        self._scheduler.kill()
        self._scheduler.wait()
        self._scheduler = self._started("scheduler", "--port", str(self.port))
        self._end_workers()
        self._start_workers()

    def close(self) -> None:
        """End all processes."""
        self._scheduler.kill()
        self._scheduler.wait()
        self._end_workers()

    def _start_workers(self) -> None:
        options = [self.address, "--nthreads", "1", "--no-nanny"]
        self._workers = [self._started("worker", *options, place=f"host{n}") for n in (1, 2)]

    def _end_workers(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()

    def _started(self, what: str, *options: str, place: str = "host1") -> subprocess.Popen:
        here = self._folder / place
        here.mkdir(exist_ok=True)
        known = [str(Path(__file__).parent), *filter(None, sys.path)]
        paths = os.pathsep.join(map(os.path.abspath, known))
        words = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options]
        return subprocess.Popen(
            [*words, "--host", "127.0.0.1", "--no-dashboard"],
            cwd=here,
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--every", type=int, default=2, help="finished runs between two kills")
    parser.add_argument("--seconds", type=float, default=0.3, help="time of one run")
    asked = parser.parse_args()
    total = asked.every * (asked.kills + 1)
    configs = [RunConfig("product", seed, {"seconds": asked.seconds}) for seed in range(total)]
    with tempfile.TemporaryDirectory() as name:
        show(swept(Path(name), configs, asked.kills, asked.every) | {"machine": machine()})


def swept(folder: Path, configs: list[RunConfig], kills: int, every: int) -> dict[str, object]:
    """Sweep while the scheduler dies; return what was counted."""
    root, hosts, killed = folder / "runs", Hosts(folder), [0]

    def killer() -> None:
        for kill in range(1, kills + 1):
            while len(list(root.glob("product/*"))) < kill * every:
                time.sleep(0.05)
            hosts.kill_scheduler()
            killed[0] = kill

    thread = threading.Thread(target=killer, daemon=True)
    thread.start()
    restarts = 0
    opener = partial(open_executor, "dask", address=hosts.address)
    task = _importable()
    try:
        while True:
            try:
                report = sweep(configs, root, task, open_executor=opener)
                break
            except OSError as error:  # whose advice is to run the same command again
                sys.stderr.write(f"{error}\n")
                restarts += 1
        thread.join(60)
    finally:
        hosts.close()
    sweep(configs, folder / "alone", task, open_executor=partial(open_executor, "serial"))
    found, expected = ([find_run(r, c) for c in configs] for r in (root, folder / "alone"))
    same = [
        a is not None and b is not None and a.results == b.results
        and np.array_equal(a.arrays()["square"], b.arrays()["square"])
        for a, b in zip(found, expected, strict=True)
    ]  # fmt: skip
    return {
        "scheduler killed": killed[0],
        "runs asked for": len(configs),
        "runs found": sum(run is not None for run in found),
        "runs equal to one process' alone": sum(same),
        "runs failed": len(report.failed),
        "command started again": restarts,
        "claims left": len(list((root / ".claims").iterdir())),
        "drafts left": len(list((root / ".drafts").iterdir())),
    }


def _importable():
    """Return the task under the name that workers import it by."""
    import kill_scheduler

    return kill_scheduler.product


if __name__ == "__main__":
    main()
