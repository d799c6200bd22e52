import doctest
import importlib
import inspect
import pathlib
import re

import pytest

import isometry
from isometry import data, nn
from isometry.nn.init import baselines
from isometry.nn.scale.training import adapters

SOURCE = pathlib.Path(__file__).parent.parent / "src"
FACES = (isometry, nn, baselines, adapters, data)
EXAMPLES = [
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for path in sorted(SOURCE.rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_docstrings_give_what_they_print(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed


def public():
    for face in FACES:
        for name in face.__all__:
            thing = getattr(face, name)
            if inspect.isfunction(thing):
                yield f"{face.__name__}.{name}", thing
            elif inspect.isclass(thing):
                yield f"{face.__name__}.{name}", thing
                yield from methods(f"{face.__name__}.{name}", thing)


def methods(name, kind):
    for member, value in inspect.getmembers(kind, inspect.isfunction):
        if not member.startswith("_") and value.__module__.startswith("isometry."):
            yield f"{name}.{member}", value


def lacks(thing):
    """Name what the docstring of a public thing does not say."""
    text = inspect.getdoc(thing) or ""
    if not text:
        return ["a docstring"]
    if inspect.isclass(thing):
        wants = [] if issubclass(thing, (Exception, Warning)) else parameters(thing)
        section = r"(Args|Attributes):\n(.*?)(\n\n[A-Z]\w+:|\Z)"
    else:
        wants = parameters(thing)
        section = r"(Args):\n(.*?)(\n\n[A-Z]\w+:|\Z)"
    found = re.search(section, text, re.DOTALL)
    listed = re.findall(r"^    \*{0,2}(\w+)", found[2], re.MULTILINE) if found else []
    if "." in getattr(
        thing, "__qualname__", ""
    ):  # a method of one argument may say it in a sentence
        listed += re.findall(r"``(\w+)``", text) if len(wants) == 1 else []
    missing = [name for name in wants if name not in listed]
    returns = inspect.isfunction(thing) and thing.__annotations__.get("return") not in (
        None,
        "None",
    )
    if returns and not re.search(r"^(Returns|Yields):|\A(Return|Yield|Tell|List)\b", text, re.M):
        missing.append("Returns")
    return missing


def parameters(thing):
    return [name for name in inspect.signature(thing).parameters if name != "self"]


PUBLIC = dict(public())


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_says_what_it_takes_and_gives(name):
    assert lacks(PUBLIC[name]) == []


def test_an_undocumented_parameter_would_be_found():
    def halve(x, *, often=1):
        """Return half of it.

        Args:
            x: A number.
        """
        return x / 2**often

    assert lacks(halve) == ["often"]
