"""One thread a run: the number of threads changes the order of additions, hence the last bits."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and the linear algebra below NumPy use one thread for the ``with`` block.

    Raises:
        ImportError: If threadpoolctl is missing.
    """
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        raise ImportError(
            "runs need threadpoolctl; run `pip install 'isometry[experiments]'`."
        ) from None
    before = torch.get_num_threads()
    with threadpoolctl.threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
