"""What is in a golden file, checked before it is believed: people edit, merge and cut files."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args

from isometry._checks import shown
from isometry.nn.roles.parts import Role

SCHEMA = 2
ENTRIES = ("constant", "signs", "uniform", "truncated", "normal", "other")
"""Kinds of distributions that a golden file knows."""
_NUMBERS = ("std", "mean", "size", "error")
_AGAIN = "Make it again: `isometry lint MODEL --save FILE`, or `pytest --isometry-update`."


def read_golden(path: Path) -> dict[str, Any]:
    """Read a golden file, and refuse what none of this version would hold.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no golden file, or one of another schema, or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`golden` is {path}; expected an existing file. {_AGAIN}")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # cut, merged, or no text
        raise ValueError(
            f"`golden` is {path}, which is not JSON; expected a golden file. {_AGAIN}"
        ) from None
    found = table if isinstance(table, dict) else {}
    if type(found.get("schema")) is not int or found["schema"] != SCHEMA:
        _refuse(path, '"schema"', found.get("schema"), f"a golden file of schema {SCHEMA}")
    for key, kind, expected in (
        ("model", str, "a name"),
        ("remark", str, "what was not looked at"),
        ("parts", dict, "entries by name"),
    ):
        if not isinstance(found.get(key), kind):
            _refuse(path, f'"{key}"', found.get(key), expected)
    for name, entry in found["parts"].items():
        _check_entry(path, name, entry)
    if found.get("structure") != structure(found["parts"]):
        hashed = "the hash of its names, roles and shapes"
        _refuse(path, '"structure"', found.get("structure"), hashed)
    return found


def structure(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a hash of names, roles and shapes."""
    lines = [f"{name} {p['role']} {p['shape']}" for name, p in sorted(parts.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _check_entry(path: Path, name: str, entry: Any) -> None:
    """Check one parameter or buffer.

    Raises:
        ValueError: If a field is not what is saved.
    """

    def check(key: str, expected: str, *, right: bool) -> None:
        if not right:
            _refuse(path, f'"{key}" of "{name}"', entry.get(key), expected)

    if not isinstance(entry, dict):
        _refuse(path, f'"{name}"', entry, "a table")
    check("role", "a role", right=entry.get("role") in get_args(Role))
    shape = entry.get("shape")
    whole = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    check("shape", "a list of sizes", right=whole)
    if not {*_NUMBERS, "entries"} & entry.keys():
        return  # without values, or with such as are not finite
    for key in _NUMBERS:
        number: Any = entry.get(key)
        finite = type(number) in (int, float) and math.isfinite(number)
        check(key, "a finite number", right=finite)
        check(key, "a number >= 0", right=key == "mean" or number >= 0)
    check("size", "a number of entries", right=type(entry["size"]) is int and entry["size"] > 0)
    check("std", 'a number > 0, as "error" is', right=entry["std"] > 0 or entry["error"] == 0)
    check("error", 'a number > 0, as "std" is', right=entry["error"] > 0 or entry["std"] == 0)
    check("error", "a number <= 0.5", right=entry["error"] <= 0.5)  # that of the rarest entry
    check("entries", f"one of {', '.join(ENTRIES)}", right=entry.get("entries") in ENTRIES)


def _refuse(path: Path, field: str, value: object, expected: str) -> NoReturn:
    """Name the file and the field.

    Raises:
        ValueError: Always.
    """
    found = "is missing" if value is None else f"is {shown(value)}"
    raise ValueError(f"`golden` is {path}, whose {field} {found}; expected {expected}. {_AGAIN}")
