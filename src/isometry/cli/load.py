"""A model and an input from the command line: ``module:callable`` and a file."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from isometry._checks import suggest


def load_model(reference: str) -> Any:
    """Import ``module:callable`` and call it; the current directory counts as a place for modules.

    Args:
        reference: For example ``my_module:make_model``; what is behind the colon is a function
            without arguments that returns the model, or the model itself.

    Returns:
        The model.

    Raises:
        ModuleNotFoundError: If the module imports another one that does not exist.
        TypeError: If the result cannot be called.
        ValueError: If the reference has no colon, or the module or the name does not exist.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise ValueError(f"`model` is {reference!r}; expected `module:callable`, e.g. `net:make`.")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"`model` is {reference!r} but there is no module {module_name!r} in the current "
            "directory or on the path; expected a Python file or package."
        ) from None
    found = getattr(module, name, None)
    if found is None:
        public = [key for key in vars(module) if not key.startswith("_")]
        raise ValueError(
            f"`model` is {reference!r} but {module_name} has no {name!r}; expected a function "
            f"that returns the model.{suggest(name, public)}"
        )
    model = found if isinstance(found, torch.nn.Module) else _call(found, reference)
    if not callable(model):
        raise TypeError(
            f"`model` is {reference!r}, which gives a {type(model).__name__}; expected a module."
        )
    return model


def _call(factory: Any, reference: str) -> Any:
    if not callable(factory):
        raise TypeError(
            f"`model` is {reference!r}, a {type(factory).__name__}; expected a function."
        )
    return factory()


def load_input(path: str | Path) -> Tensor:
    """Read the input tensor from a file; nothing in it is executed.

    Args:
        path: ``.pt`` or ``.pth`` (a tensor, read with ``weights_only``), ``.npy``, or
            ``.safetensors`` with one tensor inside.

    Returns:
        The tensor.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If the file holds something else than one tensor.
        ValueError: If the suffix is not known or the file cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`input` is {path}; expected an existing file.")
    readers = {".pt": _read_pt, ".pth": _read_pt, ".npy": _read_npy, ".safetensors": load_file}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"`input` is {path}; expected a file ending in {', '.join(readers)}. Save images as "
            "a tensor first: `torch.save(images, 'images.pt')`."
        )
    try:
        content = reader(path)
    except Exception as error:
        raise ValueError(
            f"`input` is {path}, which cannot be read ({type(error).__name__}); expected one "
            "tensor. Save it again, for example with `torch.save(tensor, path)`."
        ) from error
    return _one_tensor(content, path)


def _read_pt(path: Path) -> Any:
    return torch.load(path, weights_only=True, map_location="cpu")


def _read_npy(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))


def _one_tensor(content: Any, path: Path) -> Tensor:
    """Return the one tensor of a file, or of the dictionary in it.

    Raises:
        TypeError: If it holds anything else.
    """
    if isinstance(content, dict) and len(content) == 1:
        content = next(iter(content.values()))
    if not isinstance(content, Tensor):
        inside = f"{len(content)} entries" if isinstance(content, dict) else type(content).__name__
        raise TypeError(f"`input` is {path}, which holds {inside}; expected one tensor.")
    return content
