"""No parameter is widened to Any, so that a wrong call is flagged before it is made."""

import ast
import dataclasses
import inspect
import pathlib
from typing import Any

import pytest

import isometry as iso
from isometry import nn as inn

SOURCES = sorted((pathlib.Path(__file__).parents[2] / "src" / "isometry").rglob("*.py"))
EXPORTED = {
    f"{face.__name__}.{name}": getattr(face, name) for face in (iso, inn) for name in face.__all__
}


def widened(source):
    """Yield the parameters annotated with a union that Any swallows."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for parameter in ast.walk(node.args):
            if isinstance(parameter, ast.arg) and parameter.annotation is not None:
                for union in ast.walk(parameter.annotation):
                    if isinstance(union, ast.BinOp) and "Any" in (
                        ast.unparse(union.left),
                        ast.unparse(union.right),
                    ):
                        yield f"{node.name}({parameter.arg})"


def test_no_parameter_of_the_package_is_a_union_with_any():
    assert len(SOURCES) > 100
    found = {str(path): list(widened(path.read_text())) for path in SOURCES}
    assert {path: names for path, names in found.items() if names} == {}


def test_such_a_parameter_would_be_found():
    assert list(widened("def f(a: int, *, b: int | Any = 0) -> Any: ...")) == ["f(b)"]


def callables(thing):
    if inspect.isclass(thing):
        members = inspect.getmembers(thing, inspect.isfunction)
        own = (member for _, member in members if member.__module__.startswith("isometry."))
        yield from (member for member in own if not member.__name__.startswith("_"))
        if "__init__" in vars(thing) and not dataclasses.is_dataclass(thing):
            yield thing.__init__
    elif inspect.isroutine(thing):
        yield thing


@pytest.mark.parametrize("name", EXPORTED)
def test_every_parameter_of_what_is_exported_says_what_it_takes(name):
    for function in callables(EXPORTED[name]):
        for parameter in list(inspect.signature(function).parameters.values()):
            assert parameter.annotation is not Any, f"{function.__qualname__}({parameter.name})"
