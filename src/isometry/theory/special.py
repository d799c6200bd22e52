"""scipy.special, loaded when a function of it is first called: it takes longer than all the rest.

A law and its quantiles need none of it, nor does a command that only prints.
"""

import functools
import importlib
from typing import Any


@functools.cache
def special() -> Any:
    """Return ``scipy.special``."""
    return importlib.import_module("scipy.special")
