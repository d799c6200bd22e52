"""How far a command is, and the time left: a bar on standard error, for people only."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from isometry.experiments.engine import sweeps

_PATIENCE = 2.0
"""Seconds that a command may take without a word."""


Show: TypeAlias = Callable[..., None]
"""What work reports to: ``show(done, total, now="", left=None)``; ``left`` is in seconds."""


@contextmanager
def progress(name: str) -> Iterator[Show]:
    """Show a bar with the time left once the work has taken two seconds, if a terminal is there.

    What the work itself prints, a model's own words, goes to standard error: standard output is
    for the answer.

    Args:
        name: What is done, in a word or two.
    """
    if not sys.stderr.isatty():
        with redirect_stdout(sys.stderr):
            yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    said, left_of = TextColumn("{task.description:<18}"), TextColumn("{task.fields[left]}")
    columns = (said, BarColumn(), MofNCompleteColumn(), left_of)
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task, begun = bar.add_task(name, total=None, left=""), time.monotonic()
    first: list[tuple[float, int]] = []

    def show(done: int, total: int, /, *, now: str = "", left: float | None = None) -> None:
        taken = time.monotonic() - begun
        if not first:
            first.append((taken, done))  # what came before it was another kind of work
        since, before = first[0]
        if left is None and done > before:
            left = (taken - since) * (total - done) / (done - before)
        known = "" if left is None else f"{time_left(left)} left"
        bar.update(task, completed=done, total=total, description=now or name, left=known)
        if taken >= _PATIENCE and not bar.live.is_started:
            bar.start()

    try:
        with redirect_stdout(sys.stderr):
            yield show
    finally:
        if bar.live.is_started:
            bar.stop()


def of_runs(show: Show) -> Callable[["sweeps.Progress"], None]:
    """Return what a sweep reports to; it knows the time left better, as some runs were there."""
    return lambda state: show(state.done, state.total, now=state.task, left=state.seconds_left)


def time_left(seconds: float) -> str:
    """Return a time as a person says it: in seconds, minutes or hours."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _silent(done: int, total: int, /, *, now: str = "", left: float | None = None) -> None:
    pass
