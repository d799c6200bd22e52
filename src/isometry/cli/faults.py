"""Whose fault an error is: the command's words, the user's own code, or a defect of isometry."""

import re
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import isometry

_OURS = str(Path(isometry.__file__).parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")})
_CALL = str(Path("torch", "nn", "modules", "module.py"))
"""Where torch calls a module: what fails below it is the model, even one made of torch's parts."""


def in_own_code(error: BaseException) -> bool:
    """Return whether the user's code, or a model, raised this, and not a check of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or frames[-1].filename.startswith(_OURS):
        return False
    return any(_is_users(frame.filename) or frame.filename.endswith(_CALL) for frame in frames)


def place(error: BaseException) -> str:
    """Return the last line of the user's own code on the way to an error, or nothing."""
    for link in _chain(error):
        if isinstance(link, SyntaxError) and link.filename and _is_users(link.filename):
            return f"{Path(link.filename).name}, line {link.lineno}"
        for frame in reversed(traceback.extract_tb(link.__traceback__)):
            if _is_users(frame.filename):
                inside = "" if frame.name.startswith("<") else f", in {frame.name}"
                return f"{Path(frame.filename).name}, line {frame.lineno}{inside}"
    return ""


def in_options(text: str, options: Mapping[str, str]) -> str:
    """Return a message in the names of options in place of those of Python's arguments.

    Args:
        text: A message that names arguments, as in ```c` is 0``, or gives them, as in ``c=1``.
        options: From the name of an argument to that of the option.
    """

    def named(match: re.Match[str]) -> str:
        return f"`{options[match[1]]}`" if match[1] in options else match[0]

    def given(match: re.Match[str]) -> str:
        if match[1] not in options:
            return match[0]
        value = match[2].strip("'\"")
        return options[match[1]] + ("" if value in ("", "True") else f" {value}")

    text = re.sub(r"(?<![\w.(])([a-z]\w*)=('[^']*'|\"[^\"]*\"|[\w.+-]*\w|)", given, text)
    return re.sub(r"`([a-z]\w*)`", named, text)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Go through an error and what caused it, the error first."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_users(filename: str) -> bool:
    """Return whether a file is neither isometry's nor a library's nor without a file."""
    return not filename.startswith(("<", _OURS, *_LIBRARIES))
