"""What a measurement says when another rank is gone: one sentence, on every rank that waits."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed

_LOST = re.compile(
    r"gloo|nccl|connection (was )?(reset|closed|refused)|timed? ?out|broken pipe|heartbeat|socket",
    re.IGNORECASE,
)


@contextmanager
def together() -> Iterator[None]:
    """Say in one sentence that a rank was lost, whatever torch says of it.

    Raises:
        RuntimeError: In the place of what torch raises where another rank is gone or does not
            answer within the timeout of its process group.
    """
    try:
        yield
    except RuntimeError as error:  # torch's own errors of distribution are such
        if not (distributed.is_available() and distributed.is_initialized()) or not _is_loss(error):
            raise
        rank, size = distributed.get_rank(), distributed.get_world_size()
        raise RuntimeError(
            f"Rank {rank} of {size} lost the others: one of them ended or did not answer within "
            "the timeout; expected all ranks. The first that failed says why in its own output; "
            "nothing was written, so start all of them again."
        ) from error


def _is_loss(error: RuntimeError) -> bool:
    return isinstance(error, distributed.DistError) or bool(_LOST.search(str(error)))
