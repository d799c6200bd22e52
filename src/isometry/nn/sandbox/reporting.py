"""Progress of work far below those who wait for it.

A matrix is written out by operators of many kinds, those of others among them, whose interface has
no place for a progress bar. So who waits says so once, and the loop at the bottom reports.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from isometry.nn.sandbox._typing import Progress

_WAITING: ContextVar[Progress | None] = ContextVar("waiting", default=None)


@contextmanager
def reporting(progress: Progress | None) -> Iterator[None]:
    """Have :func:`report` call ``progress(done, total)`` inside, in this thread and task alone."""
    token = _WAITING.set(progress)
    try:
        yield
    finally:
        _WAITING.reset(token)


def report(done: int, total: int) -> None:
    """Say how far a loop is, to whoever waits for it."""
    progress = _WAITING.get()
    if progress is not None:
        progress(done, total)
