import importlib.util
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from cases_runs import contents
from isometry.experiments.engine.executors import (
    JobExecutor,
    SerialExecutor,
    _end_with_the_parent,
    open_executor,
)
from isometry.experiments.engine.sweeps import sweep
from isometry.experiments.profiles import studies
from isometry.experiments.tasks import run_task


def some_configs():
    chosen = studies("smoke", ["digits"])
    return [study.configs[0] for study in chosen]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kind": "proces"}, r"`kind` is 'proces'; expected one of .* Did you mean 'process'\?"),
        ({"workers": 0}, "`workers` is 0; expected an integer >= 1"),
        ({"kind": "serial", "address": "tcp://x"}, "`address` is .*; expected none for 'serial'"),
    ],
)
def test_a_wrong_executor_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text), open_executor(**arguments):
        pass


def test_the_serial_executor_returns_futures():
    with SerialExecutor() as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        assert isinstance(executor.submit(divmod, 7, 0).exception(), ZeroDivisionError)
        assert list(executor.map(abs, [-1, 2])) == [1, 2]


PARENT = """
import sys, time
from isometry.experiments.engine.executors import open_executor
from cases_runs import process_number, sleep_long

if __name__ == "__main__":
    with open_executor("process", 2) as executor:
        numbers = {executor.submit(process_number, 0.5) for _ in range(2)}
        print(*(future.result() for future in numbers), flush=True)
        if sys.argv[1] == "busy":
            [executor.submit(sleep_long) for _ in range(2)]
        time.sleep(600)
"""


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("workers", ["idle", "busy"])
def test_workers_of_a_killed_parent_end_by_themselves(tmp_path, workers):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    here = {"PYTHONPATH": os.pathsep.join(["tests", "src", *sys.path])}
    parent = subprocess.Popen(
        [sys.executable, script, workers], stdout=subprocess.PIPE, text=True, env=os.environ | here
    )
    try:
        assert parent.stdout is not None
        numbers = [int(word) for word in parent.stdout.readline().split()]
        assert numbers
        assert not any(map(gone, numbers))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    until = time.monotonic() + 10
    while time.monotonic() < until and not all(map(gone, numbers)):
        time.sleep(0.05)
    assert all(map(gone, numbers))


def test_a_process_without_a_parent_waits_for_none():
    before = threading.active_count()
    _end_with_the_parent()
    assert threading.active_count() == before


class Engine:
    """Stands for dask's and ray's modules: notes what it is asked, and calls at once."""

    def __init__(self):
        self.asked = []

    def Client(self, *arguments):
        self.asked.append(("Client", *arguments))
        return nullcontext(self)

    def LocalCluster(self, **arguments):
        self.asked.append(("LocalCluster", arguments["host"], arguments["n_workers"]))
        return nullcontext("cluster")

    def get_executor(self, *, pure):
        assert pure is False
        return SerialExecutor()

    def init(self, **arguments):
        self.asked.append(("init", arguments))

    def shutdown(self):
        self.asked.append(("shutdown",))

    def remote(self, **options):
        assert options == {"num_cpus": 1, "max_retries": 3}
        future = SerialExecutor().submit
        return lambda fn: SimpleNamespace(
            remote=lambda *arguments: SimpleNamespace(future=lambda: future(fn, *arguments))
        )


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        (None, [("LocalCluster", "127.0.0.1", 3), ("Client", "cluster")]),
        ("tcp://first:8786", [("Client", "tcp://first:8786")]),
    ],
)
def test_dask_is_a_cluster_of_this_machine_or_the_one_at_an_address(monkeypatch, address, asked):
    engine = Engine()
    monkeypatch.setitem(sys.modules, "distributed", engine)
    with open_executor("dask", 3, address=address) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
    assert engine.asked == asked


@pytest.mark.parametrize("address", [None, "first:6379"])
def test_ray_is_started_with_an_address_or_on_the_loopback_and_shut_down(monkeypatch, address):
    engine = Engine()
    monkeypatch.setitem(sys.modules, "ray", engine)
    with open_executor("ray", 3, address=address) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        assert isinstance(executor.submit(divmod, 7, 0).exception(), ZeroDivisionError)
    (_, settings), (last,) = engine.asked
    assert last == "shutdown"
    assert settings["include_dashboard"] is False
    assert settings.get("address") == address
    assert settings.get("_node_ip_address") == ("127.0.0.1" if address is None else None)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    def refuse(address):
        raise OSError("Timed out")

    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=refuse))
    with (
        pytest.raises(OSError, match=r"`address` is 'tcp://x:1', where no scheduler answers \(Tim"),
        open_executor("dask", address="tcp://x:1"),
    ):
        pass


class UnfinishedError(Exception):
    pass


class Queue:
    """Stands for submitit's: a job is killed so many times, then does its call."""

    def __init__(self, kills=0, broken=False):
        self.kills, self.broken, self.parameters, self.cancelled = kills, broken, {}, 0
        self.core = SimpleNamespace(utils=SimpleNamespace(UncompletedJobError=UnfinishedError))
        self.waiting = threading.Event()

    def AutoExecutor(self, folder):
        self.parameters["folder"] = folder
        return self

    def update_parameters(self, **parameters):
        self.parameters |= parameters

    def submit(self, fn, *args, **kwargs):
        def result():
            if self.broken:
                raise ValueError("sbatch: no such partition")
            if self.kills > 0:
                self.kills -= 1
                raise UnfinishedError
            return fn(*args, **kwargs)

        return SimpleNamespace(result=result, done=lambda: False, cancel=self.cancel)

    def cancel(self):
        self.cancelled += 1


@pytest.mark.parametrize("address", [None, "short"])
def test_calls_go_to_a_queue_s_partition_and_come_back(monkeypatch, address):
    queue = Queue()
    monkeypatch.setitem(sys.modules, "submitit", queue)
    with open_executor("submitit", address=address) as executor:
        assert executor.submit(divmod, 7, 2).result(5) == (3, 1)
        assert isinstance(executor.submit(divmod, 7, 0).exception(5), ZeroDivisionError)
    assert queue.cancelled == 2
    assert queue.parameters["cpus_per_task"] == 1
    assert queue.parameters.get("slurm_partition") == address


@pytest.mark.parametrize(("kills", "lives"), [(1, True), (3, True), (4, False)])
def test_a_killed_job_is_sent_again_three_times(kills, lives):
    queue = Queue(kills)
    future = JobExecutor(queue, UnfinishedError).submit(divmod, 7, 2)
    assert (future.exception(5) is None) is lives
    assert lives or isinstance(future.exception(), BrokenExecutor)


def test_a_queue_that_refuses_a_job_breaks_the_executor():
    future = JobExecutor(Queue(broken=True), UnfinishedError).submit(divmod, 7, 2)
    with pytest.raises(BrokenExecutor, match="ValueError: sbatch: no such partition"):
        future.result(5)


@pytest.mark.parametrize(
    ("kind", "module"), [("dask", "distributed"), ("ray", "ray"), ("submitit", "submitit")]
)
def test_a_missing_engine_is_asked_for(monkeypatch, kind, module):
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(
            ImportError, match=rf"needs {module}; run `pip install 'isometry\[{kind}\]'`"
        ),
        open_executor(kind),
    ):
        pass


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("default")  # of the engines' own making
@pytest.mark.parametrize(
    ("kind", "module"), [("process", "concurrent"), ("dask", "distributed"), ("ray", "ray")]
)
def test_every_executor_computes_the_same_bits(tmp_path, kind, module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    for name in ("serial", kind):
        opened = partial(open_executor, name, 2)
        report = sweep(some_configs(), tmp_path / name, run_task, open_executor=opened)
        assert (report.made, report.failed) == (len(some_configs()), {})
    assert contents(tmp_path / "serial") == contents(tmp_path / kind)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("default")
def test_a_dask_scheduler_is_found_at_its_address(tmp_path):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )
    with cluster, open_executor("dask", address=cluster.scheduler_address) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("default")
def test_ray_takes_built_in_functions_and_lambdas():
    pytest.importorskip("ray")
    with open_executor("ray", 1) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        assert executor.submit(lambda: 5).result() == 5
