"""What was wrong with the words of a command, in one sentence that points to its help."""

import difflib
from collections.abc import Sequence
from typing import Any, get_args

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    Token,
    UnusedCliTokensError,
    convert,
)

from isometry._checks import suggest

_KINDS = {int: "an integer", float: "a number"}


def exact(kind: Any, tokens: Sequence[Token]) -> Any:
    """Convert words as cyclopts does, but never round a number to make it an integer.

    Raises:
        ValueError: If an integer is due and a word has a fractional part.
    """
    if kind is int or int in get_args(kind):
        for token in tokens:
            if "." in token.value and not _integral(token.value):
                raise ValueError(f"{token.value} is not an integer")
    return convert(kind, tokens)


def sentence(error: CycloptsError) -> str:
    """Return what was given, what is expected, and which help says more."""
    command = " ".join(["isometry", *(error.command_chain or ())])
    return f"{_trouble(error)} Run `{command} --help` for what is expected."


def _trouble(error: CycloptsError) -> str:
    argument = error.argument
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return (
            f"`{error.unused_tokens[0]}` is one word too many; expected one value behind an "
            "option. Write the option again before each further value."
        )
    if argument is None:
        return str(error)
    if isinstance(error, MissingArgumentError):
        if error.keyword is not None:
            return f"`{error.keyword}` stands without a value; expected one behind it."
        near = difflib.get_close_matches(argument.name, error.unused_tokens or [], n=1)
        hint = f" Did you mean it by `{near[0]}`?" if near else ""
        return f"`{argument.name}` is missing; expected a value for it.{hint}"
    if isinstance(error, CoercionError) and error.token is not None:
        words = [word for word in get_args(argument.hint) if isinstance(word, str)]
        words = words or [w for part in get_args(argument.hint) for w in get_args(part)]
        given = error.token.value
        kinds = [argument.hint, *get_args(argument.hint)]
        due = next((_KINDS[kind] for kind in kinds if kind in _KINDS), "another value")
        if words:
            due = "one of " + ", ".join(map(repr, words))
        hint = suggest(given, map(str, words)) if words else ""
        return f"`{argument.name}` is {given!r}; expected {due}.{hint}"
    return str(error)


def _integral(text: str) -> bool:
    try:
        return float(text).is_integer()
    except ValueError:
        return True  # no number at all: the conversion says so
