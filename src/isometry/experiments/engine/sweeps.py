"""Map an executor over the runs that are not done yet, and lose none of them.

A worker that is killed breaks a pool of processes, a scheduler that is killed gives up its calls:
the executor is opened anew and what it had not finished is submitted again, where a run resumes
from its last checkpoint.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from isometry._result import Result
from isometry.experiments.engine.runs import RunConfig, Task, examine, perform, place_of
from isometry.experiments.engine.storage import is_about_the_folder, writing

_MOST_BREAKS = 3  # in a row, with no run finished in between
_POLL = 0.5  # seconds between two looks at a run that another process is at


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        done: Runs that are finished.
        total: All runs.
        seconds_left: Estimate from the runs finished so far; ``None`` before the first one.
        task: Task of the run that finished last.
    """

    done: int
    total: int
    seconds_left: float | None
    task: str


@dataclass(frozen=True)
class SweepReport(Result):
    """What a sweep did.

    Attributes:
        made: Number of runs done by this sweep.
        found: Number of runs that were there, or that another process did meanwhile.
        failed: From the id of a run to the error it raised.
        damaged: From a run's folder to what was wrong with it; it was set aside and made again.
    """

    made: int
    found: int
    failed: dict[str, str]
    damaged: dict[str, str] = field(default_factory=dict)


Open = Callable[[], AbstractContextManager[Executor]]


def sweep(
    configs: Sequence[RunConfig],
    root: Path,
    task: Task,
    *,
    open_executor: Open,
    window: int = 4,
    progress: Callable[[Progress], None] | None = None,
) -> SweepReport:
    """Do every run that is not done yet.

    Args:
        configs: The runs; the same one twice is done once.
        root: Folder of the runs, seen by all workers.
        task: What to call with a config and a folder; importable where the workers are.
        open_executor: Opens the executor, again after a worker died.
        window: Runs submitted and not finished at any time, >= 1; two a worker keep all busy.
        progress: Called after every run.

    Returns:
        How many runs were made and found, and which failed.

    Raises:
        OSError: If the folder cannot be written or the disk is full.
        ValueError: If a task's name cannot be a folder's.
        RuntimeError: If workers die three times in a row without finishing a run.
    """
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    state = _State(list({config.id: config for config in configs}.values()), root, task, progress)
    breaks = 0
    while state.pending:
        finished = state.done
        try:
            with open_executor() as executor:
                state.drain(executor, window)
        except BrokenExecutor as err:
            breaks = 1 if state.done > finished else breaks + 1
            state.recover()
            if breaks >= _MOST_BREAKS:
                raise RuntimeError(
                    f"workers died {breaks} times in a row at run {state.pending[0].id} or its "
                    "neighbours; expected them to live. They may need more memory: use fewer "
                    "workers; or a script lacks `if __name__ == '__main__':`. Finished runs "
                    "are kept."
                ) from err
    return SweepReport(state.made, state.found, state.failed, state.damaged)


class _State:
    """What is to do, what is under way and what is done."""

    def __init__(
        self,
        configs: list[RunConfig],
        root: Path,
        task: Task,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        places = {config.id: place_of(root, config) for config in configs}
        looks = {name: examine(place) for name, place in places.items()}
        there = [config for config in configs if looks[config.id][0] is not None]
        self.damaged = {str(places[k]): reason for k, (_, reason) in looks.items() if reason}
        self.pending = deque(config for config in configs if looks[config.id][0] is None)
        self.flying: dict[Future[str], RunConfig] = {}
        self.found, self.made, self.total = len(there), 0, len(configs)
        self.failed: dict[str, str] = {}
        self._call = (str(root), task)
        self._progress = progress
        self._start = time.monotonic()

    @property
    def done(self) -> int:
        return self.made + self.found + len(self.failed)

    def drain(self, executor: Executor, window: int) -> None:
        while self.pending or self.flying:
            while self.pending and len(self.flying) < window:
                text = self.pending[0].text()
                future = executor.submit(_perform, self._call[0], text, self._call[1])
                self.flying[future] = self.pending.popleft()
            finished, _ = wait(self.flying, return_when=FIRST_COMPLETED)
            # What succeeded is counted before what broke is raised.
            for future in sorted(finished, key=lambda f: _error(f) is not None):
                self._settle(future)

    def recover(self) -> None:
        """Put back what a broken executor had not finished."""
        self.pending.extendleft(self.flying.values())
        self.flying.clear()

    def _settle(self, future: Future[str]) -> None:
        error = _error(future)
        if isinstance(error, (BrokenExecutor, OSError)):
            raise error
        config = self.flying.pop(future)
        word = "failed" if error is not None else future.result()
        if word == "busy":
            self.pending.append(config)
            time.sleep(_POLL if not self.flying else 0.0)
            return
        if error is not None:
            self.failed[config.id] = f"{config.task}: {type(error).__name__}: {error}"
        self.made += word == "made"
        self.found += word == "found"
        if self._progress is not None:
            seconds = (time.monotonic() - self._start) / max(self.made, 1)
            left = seconds * (self.total - self.done) if self.made else None
            self._progress(Progress(self.done, self.total, left, config.task))


def _error(future: Future[str]) -> BaseException | None:
    """Return what a call raised; a call that was given up, as by a scheduler's death, is broken."""
    try:
        return future.exception()
    except CancelledError:
        return BrokenExecutor("the executor gave up its calls")


def _perform(root: str, text: str, task: Task) -> str:
    """Do a run where the worker is.

    Raises:
        OSError: About the folder, which ends the sweep.
        RuntimeError: In place of an OSError that the task itself raised, which is this run's only.
    """
    try:
        return perform(Path(root), RunConfig.from_text(text), task)
    except OSError as err:
        if is_about_the_folder(err):
            raise
        raise RuntimeError(f"{type(err).__name__}: {err}") from err
