"""What every command shares: a table for people, JSON for machines, one sentence for an error."""

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from isometry._result import Record, format_table, plain, strict
from isometry.cli.faults import in_options, in_own_code, place

PICTURES = ".svg", ".png", ".pdf"
"""Endings of the pictures that a command can write."""

USER_ERRORS = (
    ValueError,
    TypeError,
    NotImplementedError,
    ArithmeticError,
    RuntimeError,
    LookupError,
    ImportError,
    OSError,
)
"""What wrong input or a missing file raises; anything else of ours is a defect."""


def json_text(value: Any) -> str:
    """Return ``value`` as strict JSON; a number that JSON cannot hold becomes a string."""
    found = value.to_dict() if isinstance(value, Record) else strict(plain(value))
    return json.dumps(found, indent=2, allow_nan=False)


def emit(record: Record | Mapping[str, Any], *, as_json: bool, tables: Sequence[str] = ()) -> None:
    """Print a record: its scalars as a two-column table, then each named list of rows.

    Args:
        record: What the command found; values are scalars or lists of rows. What a
            :class:`Record` does not have is left out of the tables.
        as_json: Print the whole record as JSON instead.
        tables: Keys of ``record`` that hold rows.
    """
    if as_json:
        print(json_text(record))  # noqa: T201
        return
    known = _known(plain(record)) if isinstance(record, Record) else record
    scalars = [{"": key, "value": value} for key, value in known.items() if key not in tables]
    parts = [format_table(scalars)] if scalars else []
    parts += [format_table(known[key]) for key in tables if known.get(key)]
    print("\n\n".join(parts))  # noqa: T201


def _known(value: Any) -> Any:
    """Return a record's tables and rows without what they do not have."""
    if isinstance(value, dict):
        return {key: _known(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_known(each) for each in value]
    return value


def complain(kind: str, message: object) -> None:
    """Write one line to standard error."""
    text = " ".join(str(message).split())
    print(f"{kind}: {text}", file=sys.stderr)  # noqa: T201


def check_place(option: str, path: Path | None, *suffixes: str) -> None:
    """Refuse a file that cannot be written, before the work for it is done.

    Args:
        option: Name of the option, for the message.
        path: The file; nothing is checked without.
        *suffixes: Endings that are known; any without.

    Raises:
        FileNotFoundError: If its directory does not exist.
        PermissionError: If its directory must not be written.
        ValueError: If it is a directory or has another ending.
    """
    if path is None:
        return
    if suffixes and path.suffix.lower() not in suffixes:
        known = " or ".join(suffixes)
        raise ValueError(f"`{option}` is {path}; expected a file that ends in {known}.")
    if path.is_dir():
        raise ValueError(f"`{option}` is {path}, a directory; expected a file.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"`{option}` is {path}; expected a file in an existing directory. "
            f"Make it first: `mkdir -p {folder}`."
        )
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"`{option}` is {path}; expected a directory that can be written.")


def check_folder(option: str, path: Path | None) -> None:
    """Refuse a folder that can neither be written nor made, before the work for it is done.

    Args:
        option: Name of the option, for the message.
        path: The folder; nothing is checked without.

    Raises:
        PermissionError: If it, or the directory that it would be made in, must not be written.
        ValueError: If it, or what it would be made in, is a file.
    """
    if path is None:
        return
    places = [path.absolute(), *path.absolute().parents]
    place = next(place for place in places if place.exists())
    if not place.is_dir():
        raise ValueError(f"`{option}` is {path}; expected a folder, but {place} is a file.")
    if not os.access(place, os.W_OK):
        raise PermissionError(
            f"`{option}` is {path}; expected a folder in a directory that can be written."
        )


def write_plot(path: Path | None, draw: Callable[[Any], object]) -> None:
    """Write a picture where one is asked for; its place was checked before.

    Args:
        path: The file; nothing is drawn without.
        draw: Called with matplotlib axes.
    """
    if path is not None:
        from isometry.plotting import write_figure

        complain("written", write_figure(path, draw))


def guarded(
    command: Callable[[], object],
    *,
    options: Mapping[str, str] | None = None,
    debug: bool = False,
) -> int:
    """Run a command; return its status, and turn errors and warnings into lines.

    Args:
        command: The command; where it returns an integer, that is the status.
        options: Names of options by those of the arguments that messages speak of.
        debug: Print the traceback of an error as well.

    Returns:
        0, the command's own status (1: a check failed), 2 for wrong use, 3 where the user's model
        or code failed, 70 for a defect of isometry, 130 if interrupted.
    """
    seen: set[str] = set()
    names = options or {}

    def show(message: object, *_args: object, **_kwargs: object) -> None:
        if str(message) not in seen:
            seen.add(str(message))
            complain("warning", in_options(str(message), names))

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        try:
            status = command()
            sys.stdout.flush()
        except KeyboardInterrupt:
            complain("stopped", "by the keyboard; finished runs are kept.")
            return 130
        except BrokenPipeError:  # `| head` has read enough; the rest goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (Exception, SystemExit) as error:
            if debug:
                traceback.print_exception(error)
            return _failed(error, names, debug)
    return status if isinstance(status, int) else 0


def _failed(error: BaseException, options: Mapping[str, str], debug: bool) -> int:
    """Say what failed in one line, and return the status that tells whose fault it is."""
    where = place(error)
    if in_own_code(error):
        said = f": {error}" if str(error) else ""
        more = "" if debug else " Add `--debug` for the traceback."
        at = f" ({where})" if where else ""
        complain("error", f"the model failed with {type(error).__name__}{said}{at}.{more}")
        return 3
    if isinstance(error, USER_ERRORS):
        at = f" ({where})" if where else ""
        complain("error", in_options(str(error), options) + at if str(error) else repr(error))
        return 2
    if not debug:
        traceback.print_exception(error)
    complain("error", "this is a defect of isometry; please report it with the lines above.")
    return 70
