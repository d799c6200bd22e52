"""Five ways to run many runs: here, in processes, on a dask or a ray cluster, as jobs of a queue.

All are ``concurrent.futures`` executors and compute the same bits: a config travels to a worker, a
word travels back, and the numbers go through the folder of runs, which all workers must see.
"""

import importlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing import connection
from typing import Any

from isometry._checks import check_integer, suggest
from isometry._typing import Checked
from isometry._words import ExecutorName

_RETRIES = 4  # the first try and three more, as ray has
_JOB_MINUTES = 240  # a run that is cut off there resumes from its checkpoint


class SerialExecutor(Executor):
    """Run a call where it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call ``fn`` at once and return a future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as err:  # a future carries what the call raised
            future.set_exception(err)
        return future


class RayExecutor(Executor):
    """Submit calls as tasks of a ray cluster, one processor each."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send the call; ray repeats it if its worker dies."""
        task = self._ray.remote(num_cpus=1, max_retries=3)(_call)  # a built-in fn is refused
        return task.remote(fn, *args, **kwargs).future()


class JobExecutor(Executor):
    """Submit calls as jobs of a queue, Slurm's where there is one, one processor each.

    Args:
        queue: An executor of submitit.
        unfinished: What its jobs raise when they end without an answer.
    """

    def __init__(self, queue: Any, unfinished: type[Exception]) -> None:
        self._queue, self._unfinished = queue, unfinished
        self._jobs: list[Any] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send the call; it is sent again, thrice at most, if its job is killed or cut off."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        job = self._queue.submit(_caught, fn, *args, **kwargs)
        self._jobs.append(job)
        call = partial(self._queue.submit, _caught, fn, *args, **kwargs)
        threading.Thread(target=self._follow, args=(job, call, future), daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Cancel the jobs that are not done: their runs resume when somebody comes to them."""
        for job in self._jobs:
            if not job.done():
                job.cancel()

    def _follow(self, job: Any, call: Callable[[], Any], future: Future[Any]) -> None:
        for _ in range(_RETRIES):
            try:
                value, error = job.result()
            except self._unfinished:
                job = call()
                self._jobs.append(job)
            except Exception as err:  # of the queue itself
                future.set_exception(BrokenExecutor(f"{type(err).__name__}: {err}"))
                return
            else:
                future.set_result(value) if error is None else future.set_exception(error)
                return
        future.set_exception(BrokenExecutor("a job was killed again and again"))


@contextmanager
def open_executor(
    kind: Checked[ExecutorName] = "process", workers: int = 2, *, address: str | None = None
) -> Iterator[Executor]:
    """Open one of the executors and close it afterwards.

    Args:
        kind: "serial", "process", "dask", "ray" or "submitit".
        workers: Processes of this machine; not used by "serial", "submitit" or with an address.
        address: Of a running dask scheduler ("tcp://host:8786") or ray head; without one a
            cluster of this machine is started on the loopback interface. For "submitit" the
            partition of Slurm; its jobs' files are in ``submitit-jobs`` of the working folder.

    Yields:
        The executor.

    Raises:
        TypeError: If ``workers`` is not an integer.
        ValueError: If ``kind`` is unknown, ``workers`` < 1, or an address is given to "serial" or
            "process".
        ImportError: If dask's ``distributed``, ray or submitit is asked for and missing.
        OSError: If no scheduler answers at the address.
    """
    if kind not in _OPEN:
        known = ", ".join(map(repr, _OPEN))
        raise ValueError(f"`kind` is {kind!r}; expected one of {known}.{suggest(kind, _OPEN)}")
    workers = check_integer("workers", workers, minimum=1)
    if address is not None and kind in {"serial", "process"}:
        raise ValueError(f"`address` is {address!r}; expected none for {kind!r}.")
    with _OPEN[kind](workers, address) as executor:
        yield executor


@contextmanager
def _serial(workers: int, address: str | None) -> Iterator[Executor]:  # noqa: ARG001
    yield SerialExecutor()


@contextmanager
def _process(workers: int, address: str | None) -> Iterator[Executor]:  # noqa: ARG001
    # Spawned, since a forked child inherits the locks of threads that it does not have.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_the_parent)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _dask(workers: int, address: str | None) -> Iterator[Executor]:
    distributed = _load("distributed", "dask")
    if address is not None:
        try:
            client = distributed.Client(address)
        except OSError as err:
            raise OSError(
                f"`address` is {address!r}, where no scheduler answers ({err}); expected a running "
                "one. Start it and run the same command again: finished runs are kept."
            ) from err
        with client as connected:
            yield connected.get_executor(pure=False)
        return
    local = distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=50,
    )
    with local as cluster, distributed.Client(cluster) as client:
        yield client.get_executor(pure=False)


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[Executor]:
    ray = _load("ray", "ray")
    # A cluster of this machine alone listens on the loopback address only.
    here = {"num_cpus": workers, "_node_ip_address": "127.0.0.1"}
    where = here if address is None else {"address": address}
    ray.init(**where, include_dashboard=False, log_to_driver=False)
    try:
        yield RayExecutor(ray)
    finally:
        ray.shutdown()


@contextmanager
def _submitit(workers: int, address: str | None) -> Iterator[Executor]:  # noqa: ARG001
    submitit = _load("submitit", "submitit")
    queue = submitit.AutoExecutor(folder="submitit-jobs")
    queue.update_parameters(timeout_min=_JOB_MINUTES, cpus_per_task=1)
    if address is not None:
        queue.update_parameters(slurm_partition=address)
    executor = JobExecutor(queue, submitit.core.utils.UncompletedJobError)
    try:
        yield executor
    finally:
        executor.shutdown()


def _end_with_the_parent() -> None:
    """Let this worker end when its parent is gone: it would wait for its next call for ever.

    The parent's death closes a pipe, which a thread waits for: no polling, and no signal that a
    parent killed by signal 9 could not send. What the worker was at resumes from its checkpoint.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for_the_end, args=(parent.sentinel,), daemon=True).start()


def _wait_for_the_end(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)  # sys.exit would end this thread only


def _load(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(
            f"the executor {extra!r} needs {module}; run `pip install 'isometry[{extra}]'`."
        ) from None


def _caught(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Exception | None]:
    """Call ``fn`` in a job: submitit would hand back an error's text, and not its type."""
    try:
        return fn(*args, **kwargs), None
    except Exception as err:  # the future carries it
        return None, err


def _call(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


_OPEN: dict[ExecutorName, Callable[[int, str | None], AbstractContextManager[Executor]]] = {
    "serial": _serial,
    "process": _process,
    "dask": _dask,
    "ray": _ray,
    "submitit": _submitit,
}
