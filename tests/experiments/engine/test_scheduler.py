"""A real dask scheduler, killed in mid-sweep and started again at its address."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from cases_runs import configs, slowly
from isometry.experiments.engine.executors import open_executor
from isometry.experiments.engine.runs import all_runs
from isometry.experiments.engine.sweeps import sweep


class Cluster:
    """A scheduler and a worker as processes of their own."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes = []

    def start(self):
        here = os.environ | {"PYTHONPATH": os.pathsep.join(["tests", "src", *sys.path])}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": here}
        tool = [sys.executable, "-m"]
        common = ["--host", "127.0.0.1", "--no-dashboard"]
        scheduler = ["distributed.cli.dask_scheduler", "--port", str(self.port)]
        worker = ["distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-nanny"]
        for words in (scheduler, worker):
            self.processes.append(subprocess.Popen([*tool, *words, *common], **quiet))

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("default")  # of the engine's own making
@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="dask is missing")
def test_a_scheduler_that_is_killed_and_started_again_loses_nothing(tmp_path):
    with contextlib.closing(contextlib.ExitStack()) as stack:
        cluster = Cluster()
        stack.callback(cluster.kill)
        cluster.start()

        def kill_twice():
            for finished in (2, 5):
                while len(list(tmp_path.glob("product/*"))) < finished:
                    time.sleep(0.05)
                cluster.kill()
                cluster.start()

        killer = threading.Thread(target=kill_twice, daemon=True)
        killer.start()
        report = sweep(
            configs(8),
            tmp_path,
            slowly,
            open_executor=partial(open_executor, "dask", address=cluster.address),
        )
        killer.join(10)
        assert report.made + report.found == 8
        assert report.failed == {}
        assert len(list(all_runs(tmp_path))) == 8
