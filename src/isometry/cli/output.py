"""What every command shares: a table for people, JSON for machines, one sentence for an error."""

import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isometry._result import format_table, plain

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
"""What wrong input or a missing file raises; anything else is a defect and shows its traceback."""


def json_text(value: Any) -> str:
    """Return ``value`` as strict JSON; a number that JSON cannot hold becomes a string."""
    return json.dumps(_strict(plain(value)), indent=2, allow_nan=False)


def emit(record: Mapping[str, Any], *, as_json: bool, tables: Sequence[str] = ()) -> None:
    """Print a record: its scalars as a two-column table, then each named list of rows.

    Args:
        record: What the command found; values are scalars or lists of rows.
        as_json: Print the whole record as JSON instead.
        tables: Keys of ``record`` that hold rows.
    """
    if as_json:
        print(json_text(record))  # noqa: T201
        return
    scalars = [{"": key, "value": value} for key, value in record.items() if key not in tables]
    parts = [format_table(scalars)] if scalars else []
    parts += [format_table(record[key]) for key in tables if record[key]]
    print("\n\n".join(parts))  # noqa: T201


def complain(kind: str, message: object) -> None:
    """Write one line to standard error."""
    text = " ".join(str(message).split())
    print(f"{kind}: {text}", file=sys.stderr)  # noqa: T201


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; turn a user's error into one sentence and status 2, warnings into lines."""
    seen: set[str] = set()

    def show(message: object, *_args: object, **_kwargs: object) -> None:
        if str(message) not in seen:
            seen.add(str(message))
            complain("warning", message)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        try:
            command()
        except KeyboardInterrupt:
            complain("stopped", "by the keyboard; finished runs are kept.")
            return 130
        except USER_ERRORS as error:
            complain("error", error or type(error).__name__)
            return 2
    return 0


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return value
