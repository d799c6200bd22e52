"""How a page that a command writes is got again: by the line that was typed."""

import shlex
from collections.abc import Sequence
from contextvars import ContextVar

from isometry.report import Origin

_WORDS: ContextVar[tuple[str, ...]] = ContextVar("words", default=())


def remember(words: Sequence[str]) -> None:
    """Keep what was typed behind ``isometry``."""
    _WORDS.set(tuple(words))


def origin(**facts: object) -> Origin:
    """Return the line that was typed, with what the numbers depend on besides.

    Args:
        **facts: Such as a seed, by name.
    """
    return Origin([shlex.join(["isometry", *_WORDS.get()])], facts)
