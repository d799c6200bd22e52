"""A validator of the part of JSON Schema that ours are written in, and what it knows of them."""

import functools
import json

from isometry.cli.schema import schemas

_TYPES = {
    "string": str, "boolean": bool, "null": type(None), "object": dict, "array": list,
}  # fmt: skip


@functools.cache
def everything():
    return schemas()


def check_schema(record):
    """Hold what ``to_dict`` or ``--json`` gave to the schema of the kind that it names."""
    json.dumps(record, allow_nan=False)
    kind = record["schema"].split("/")[1]
    found = everything()
    assert problems(record, found["$defs"][kind], found["$defs"]) == []


def problems(value, schema, known, place="$"):
    """Return what is wrong, a line each; an unknown word of a schema is an error."""
    unknown = schema.keys() - _RULES.keys() - {"description", "$schema", "$defs"}
    assert not unknown, unknown
    rules = {word: rule for word, (kind, rule) in _RULES.items() if isinstance(value, kind)}
    return [text for word, rule in rules.items() if word in schema
            for text in rule(value, schema, known, place)]  # fmt: skip


def _reference(value, schema, known, place):
    return problems(value, known[schema["$ref"].removeprefix("#/$defs/")], known, place)


def _type(value, schema, known, place):
    kind = schema["type"]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "number":
        right = number
    elif kind == "integer":
        right = number and value == int(value)
    else:
        right = isinstance(value, _TYPES[kind])
    return [] if right else [f"{place} is {value!r}, no {kind}"]


def _any(value, schema, known, place):
    tried = [problems(value, one, known, place) for one in schema["anyOf"]]
    return [] if [] in tried else [text for one in tried for text in one]


def _enum(value, schema, known, place):
    return [] if value in schema["enum"] else [f"{place} is {value!r}, none of {schema['enum']}"]


def _const(value, schema, known, place):
    return [] if value == schema["const"] else [f"{place} is {value!r}, not {schema['const']!r}"]


def _required(value, schema, known, place):
    return [f"{place} has no {key}" for key in schema["required"] if key not in value]


def _properties(value, schema, known, place):
    return [text for key, one in schema["properties"].items() if key in value
            for text in problems(value[key], one, known, f"{place}.{key}")]  # fmt: skip


def _others(value, schema, known, place):
    rest = schema["additionalProperties"]
    keys = value.keys() - schema.get("properties", {}).keys()
    if rest is False:
        return [f"{place} has {key}" for key in keys]
    return [t for key in keys for t in problems(value[key], rest, known, f"{place}.{key}")]


def _items(value, schema, known, place):
    first = schema.get("prefixItems", [])
    each = [*first, *([] if schema["items"] is False else [schema["items"]] * len(value))]
    wrong = [] if len(value) <= len(each) and len(value) >= len(first) else [f"{place} is too long"]
    pairs = enumerate(zip(value, each, strict=False))
    return wrong + [t for i, (v, one) in pairs for t in problems(v, one, known, f"{place}[{i}]")]


def _prefix(value, schema, known, place):
    return []  # with the items


_RULES = {
    "$ref": (object, _reference), "type": (object, _type), "anyOf": (object, _any),
    "enum": (object, _enum), "const": (object, _const), "required": (dict, _required),
    "properties": (dict, _properties), "additionalProperties": (dict, _others),
    "items": (list, _items), "prefixItems": (list, _prefix),
}  # fmt: skip
"""What a word of a schema speaks of, and how that is checked."""
