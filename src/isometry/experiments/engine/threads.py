"""One thread a run: the number of threads changes the order of additions, hence the last bits."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, where it is loaded, and NumPy's linear algebra use one thread in the block.

    Raises:
        ImportError: If threadpoolctl is missing.
    """
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        raise ImportError(
            "runs need threadpoolctl; run `pip install 'isometry[experiments]'`."
        ) from None
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    with threadpoolctl.threadpool_limits(limits=1):
        if torch is not None:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)
