"""What the user wrote, found by ``module:name`` or ``file.py:name``; no torch is needed."""

import functools
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from isometry._checks import suggest


def load_object(option: str, reference: str, expected: str) -> Any:
    """Import what a reference names; the current directory counts as a place for modules.

    Args:
        option: Name of the option, for messages.
        reference: ``my_module:name``, ``my_module:Class.name`` or ``folder/my_file.py:name``.
        expected: What the name should stand for, for messages.

    Returns:
        The object.

    Raises:
        ModuleNotFoundError: If the module imports another one that does not exist.
        ValueError: If there is no colon, or the module, the file or the name does not exist.
    """
    where, colon, name = reference.rpartition(":")
    if not colon or not where or not name:
        hint = f" Name what is in the file: `{reference}:make`." if _is_file(reference) else ""
        raise ValueError(
            f"`{option}` is {reference!r}; expected `module:callable`, e.g. `net:make`.{hint}"
        )
    module = _from_file(option, where) if _is_file(where) else _by_name(option, reference, where)
    try:
        return functools.reduce(getattr, name.split("."), module)
    except AttributeError:
        public = [key for key in vars(module) if not key.startswith("_")]
        raise ValueError(
            f"`{option}` is {reference!r} but {module.__file__ or where} has no {name!r}; expected "
            f"{expected}.{suggest(name, public)}"
        ) from None


def _is_file(where: str) -> bool:
    return where.endswith(".py") or "/" in where or os.sep in where


def _by_name(option: str, reference: str, name: str) -> ModuleType:
    _see(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"`{option}` is {reference!r} but there is no module {name!r} in the current "
            "directory or on the path; expected a Python file or package."
        ) from None


def _from_file(option: str, where: str) -> ModuleType:
    """Import a file: as the module that it is below the current directory, else by its place.

    Raises:
        ValueError: If there is no such file.
    """
    path = Path(where).absolute()
    if path.suffix != ".py" or not path.is_file():
        hint = f" Did you mean `{where}.py`?" if path.with_name(f"{path.name}.py").is_file() else ""
        raise ValueError(f"`{option}` names the file {where}; expected an existing .py file.{hint}")
    here = Path.cwd()
    if path.is_relative_to(here) and ".." not in path.parts:
        parts = path.relative_to(here).with_suffix("").parts
        if len(parts) > 1 and (here / parts[0] / "__init__.py").is_file():
            _see(str(here))
            return importlib.import_module(".".join(parts))
    _see(str(path.parent))
    known = sys.modules.get(path.stem)
    if known is not None and Path(known.__file__ or "").absolute() == path:
        return known
    # A file may be called like a module that is loaded: json.py, or utils.py of something else.
    name = path.stem if known is None else f"_of_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # half a module is none
        raise
    return module


def _see(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)
