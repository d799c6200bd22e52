"""The command that prints what every result looks like as JSON, made from the types of its fields.

The schemas follow JSON Schema 2020-12. They speak of what ``to_dict`` gives and ``--json`` prints.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

import isometry
from isometry._checks import suggest
from isometry._result import Record, Worded
from isometry.cli.output import json_text

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SHARED: dict[str, Any] = {
    "real": {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}]},
    "numbers": {
        "anyOf": [
            {"$ref": "#/$defs/real"},
            {"type": "array", "items": {"$ref": "#/$defs/numbers"}},
        ]
    },
}
_SIMPLE = {str: "string", bool: "boolean", int: "integer", type(None): "null"}


def schema(kind: str | None = None, /) -> None:
    """Print the JSON schemas of all results, or of one; always JSON.

    Args:
        kind: Such as diagnosis or lint-report; all without.

    Raises:
        ValueError: If no result is called that.
    """
    found = schemas()
    if kind is not None:
        known = [each["$ref"].rpartition("/")[2] for each in found["anyOf"]]
        if kind not in known:
            raise ValueError(
                f"`KIND` is {kind!r}; expected one of {', '.join(known)}.{suggest(kind, known)}"
            )
        found = {"$schema": _DIALECT, **_reference(kind), "$defs": _needed(kind, found["$defs"])}
    print(json_text(found))  # noqa: T201


def schemas() -> dict[str, Any]:
    """Return one schema that takes every result, each told by its "schema"; all are in "$defs"."""
    kinds = sorted(records(), key=_name)
    return {
        "$schema": _DIALECT,
        "required": ["schema"],
        "anyOf": [_reference(_name(kind)) for kind in kinds],
        "$defs": {**_SHARED, **{_name(kind): _described(kind) for kind in kinds}},
    }


def _needed(kind: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with those that it refers to."""
    found, waiting = {}, [kind]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = known[name]
            waiting += re.findall(r'"#/\$defs/([^"]+)"', json_text(known[name]))
    return found


def records() -> Iterator[type[Record]]:
    """Go through the classes that become JSON, all modules of the package imported."""
    for module in pkgutil.walk_packages(isometry.__path__, "isometry."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting = list(Record.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        own = kind.__module__.startswith("isometry.")
        if own and dataclasses.is_dataclass(kind) and not inspect.isabstract(kind):
            yield kind


def _described(kind: type[Record]) -> dict[str, Any]:
    """Return the schema of a result; inside of another one it has no key "schema"."""
    text = inspect.getdoc(kind) or ""
    said = _said(text)
    properties = {
        key: _of(_type(kind, key)) | ({"description": said[key]} if key in said else {})
        for key in kind._keys()
    }
    return {
        "description": text.partition("\n")[0],
        "type": "object",
        "properties": {"schema": {"const": kind._schema()}, **properties},
        "required": list(properties),
        "additionalProperties": False,
    }


def _said(text: str) -> dict[str, str]:
    """Return what a docstring says of every attribute or argument."""
    section = re.search(r"^(?:Attributes|Args):\n((?:    .*\n?|\n)+)", text, re.M)
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section[1], re.M) if section else []
    return {name: " ".join(words.split()) for name, words in entries}


def _type(kind: type[Record], key: str) -> Any:
    """Return the type of a field, or of what a property returns."""
    own = inspect.getattr_static(kind, key, None)
    if isinstance(own, property):
        return get_type_hints(own.fget)["return"]
    if isinstance(own, cached_property):
        return get_type_hints(own.func)["return"]
    return get_type_hints(kind, include_extras=True)[key]


def _of(kind: Any) -> dict[str, Any]:
    """Return the schema of a type.

    Raises:
        TypeError: If a type has no place in JSON.
    """
    if kind in _SIMPLE:
        return {"type": _SIMPLE[kind]}
    if kind is float:
        return _reference("real")
    if kind is Any:
        return {}
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:  # a field that the class itself checks: the type is behind it
        return _of(inner[1])
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(part) for part in inner]}
    if origin is tuple and inner[-1] is not Ellipsis:
        return {"type": "array", "prefixItems": [_of(part) for part in inner], "items": False}
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": _of(inner[0])}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _of(inner[1])}
    return _of_class(kind)


def _of_class(kind: Any) -> dict[str, Any]:
    """Return the schema of a class of ours, or of numbers.

    Raises:
        TypeError: If it has no place in JSON.
    """
    if isinstance(kind, TypeVar) or getattr(kind, "array_type", kind) is np.ndarray:
        return _reference("numbers")  # one number or an array of them
    if issubclass(kind, (PurePath, Worded)):
        return {"type": "string"}
    if not issubclass(kind, Record):
        raise TypeError(f"a {kind.__name__} has no place in JSON; expected numbers and words.")
    if inspect.isabstract(kind):
        return {"anyOf": [_of(each) for each in records() if issubclass(each, kind)]}
    return _reference(_name(kind))


def _name(kind: type[Record]) -> str:
    return kind._schema().split("/")[1]


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}
