"""A model, its weights and an input from the command line: ``module:callable`` and files."""

import inspect
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from isometry.cli.named import named_model
from isometry.cli.reference import load_object


def load_model(reference: str) -> Any:
    """Import ``module:callable`` and call it; the current directory counts as a place for modules.

    Args:
        reference: For example ``my_module:make_model`` or ``my_file.py:make_model``; what is behind
            the colon is a function without arguments that returns the model, or the model itself.
            ``hf:``, ``timm:`` and ``torchvision:`` name a model of that package.

    Returns:
        The model.

    Raises:
        ImportError: If the package of a named model is not installed.
        TypeError: If the result cannot be called.
        FileNotFoundError: If there is no such configuration.
        ValueError: If there is no such module, file or name.
    """
    named = named_model(reference)
    if named is not None:
        return named
    with redirect_stdout(sys.stderr):  # what a model prints is not our answer
        return _loaded(reference)


def _loaded(reference: str) -> Any:
    """Do what :func:`load_model` does.

    Raises:
        TypeError: If the result cannot be called.
    """
    found = load_object("MODEL", reference, "a function that returns the model")
    if not callable(found):
        raise TypeError(
            f"`MODEL` is {reference!r}, a {type(found).__name__}; expected a function that returns "
            "the model."
        )
    model = found if isinstance(found, torch.nn.Module) else _made(found, reference)
    if not callable(model):
        raise TypeError(
            f"`MODEL` is {reference!r}, which gives a {type(model).__name__}; expected a module."
        )
    return model


def _made(factory: Any, reference: str) -> Any:
    """Call a function without arguments.

    Raises:
        TypeError: If it asks for some.
    """
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise TypeError(
            f"`MODEL` is {reference!r}, which needs arguments ({error}); expected a function "
            "without any. Write one that calls it."
        ) from None
    except ValueError:
        pass  # a builtin that does not say what it takes
    return factory()


def load_checkpoint(model: Any, path: Path | None) -> None:
    """Put the weights of a file into a model; nothing in the file is executed.

    Args:
        model: A module.
        path: ``.safetensors``, or ``.pt``, ``.pth`` or ``.bin`` with a state dictionary, alone or
            under a name such as "state_dict"; nothing happens without.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If the model is no module, or the file holds no tensors by name.
        ValueError: If the file cannot be read, or names or shapes differ from the model's.
    """
    if path is None:
        return
    if not isinstance(model, torch.nn.Module):
        raise TypeError(
            f"`--checkpoint` is {path} but the model is a {type(model).__name__}; expected a "
            "torch.nn.Module to put the weights into."
        )
    content = _read("--checkpoint", path, "tensors by name")
    found = _state(content)
    if found is None:
        raise TypeError(
            f"`--checkpoint` is {path}, which holds a {type(content).__name__}; expected tensors "
            "by name. Save it with `torch.save(model.state_dict(), path)`."
        )
    if all(key.startswith("module.") for key in found):  # saved from data parallelism
        found = {key.removeprefix("module."): value for key, value in found.items()}
    own = model.state_dict()
    found = _with_tied(found, own)
    wrong = [
        *(f"{key} is missing" for key in own if key not in found),
        *(f"{key} is not in the model" for key in found if key not in own),
        *(
            f"{key} has shape {tuple(found[key].shape)}, not {tuple(own[key].shape)}"
            for key in own
            if key in found and isinstance(own[key], Tensor) and found[key].shape != own[key].shape
        ),
    ]
    if wrong:
        told = "; ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise ValueError(
            f"`--checkpoint` is {path}, which does not fit the model: {told}. Expected the names "
            "and shapes of the model's state dictionary."
        )
    model.load_state_dict(found)


def _with_tied(found: dict[str, Tensor], own: dict[str, Any]) -> dict[str, Tensor]:
    """Return tensors by all their names: safetensors keeps one of those that a model has tied."""
    places = {key: value.data_ptr() for key, value in own.items() if isinstance(value, Tensor)}
    alike = {
        (places[key], own[key].shape): value
        for key, value in found.items()
        if places.get(key) and value.shape == own[key].shape
    }
    absent = ((key, place) for key, place in places.items() if place and key not in found)
    tied = {key: alike.get((place, own[key].shape)) for key, place in absent}
    return found | {key: value for key, value in tied.items() if value is not None}


def _state(content: Any) -> dict[str, Tensor] | None:
    """Return the state dictionary in a checkpoint, at the top or one level down."""
    if not isinstance(content, dict) or not content:
        return None
    if all(isinstance(value, Tensor) for value in content.values()):
        return {str(key): value for key, value in content.items()}
    for name in ("state_dict", "model_state_dict", "model", "module"):
        found = _state(content.get(name))
        if found is not None:
            return found
    return None


def load_inputs(paths: Sequence[str | Path]) -> Any:
    """Read the model's inputs from files; nothing in them is executed.

    Args:
        paths: ``.pt`` or ``.pth`` (read with ``weights_only``), ``.npy`` or ``.safetensors``. Of
            several files each holds one tensor; a single one may hold several, by name or in order.

    Returns:
        One tensor, or a tuple or dictionary of tensors.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If a file holds something else than tensors, or one of several not one.
        ValueError: If the suffix is not known or the file cannot be read.
    """
    found = [load_input(path, several=len(paths) == 1) for path in paths]
    return found[0] if len(found) == 1 else tuple(found)


def load_input(path: str | Path, *, several: bool = False) -> Any:
    """Read one tensor from a file, or several if they are welcome, by name or in order.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If the file holds something else.
        ValueError: If the suffix is not known or the file cannot be read.
    """
    path = Path(path)
    content = _read("--input", path, "tensors")
    if isinstance(content, dict) and len(content) == 1:
        content = next(iter(content.values()))
    if isinstance(content, Tensor):
        return content
    parts = list(content.values()) if isinstance(content, dict) else content
    many = isinstance(parts, (list, tuple)) and len(parts) > 0
    if several and many and all(isinstance(part, Tensor) for part in parts):
        return content if isinstance(content, dict) else tuple(content)
    inside = f"{len(parts)} entries" if many else type(content).__name__
    expected = "tensors, by name or in order" if several else "one tensor"
    raise TypeError(f"`--input` is {path}, which holds {inside}; expected {expected}.")


def key_of(word: str | None) -> str | int | None:
    """Return the name or, of a number, the place of an input or an output."""
    return int(word) if word is not None and word.removeprefix("-").isdecimal() else word


def _read(option: str, path: Path, expected: str) -> Any:
    """Read a file of tensors by its ending.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the ending is not known or the file cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`{option}` is {path}; expected an existing file.")
    readers = {".pt": _read_pt, ".pth": _read_pt, ".bin": _read_pt, ".safetensors": load_file}
    if option == "--input":
        readers = {".pt": _read_pt, ".pth": _read_pt, ".npy": _read_npy, ".safetensors": load_file}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        hint = " Save images as a tensor first: `torch.save(images, 'images.pt')`."
        raise ValueError(
            f"`{option}` is {path}; expected a file ending in {', '.join(readers)}."
            + (hint if option == "--input" else "")
        )
    try:
        return reader(path)
    except Exception as error:
        raise ValueError(
            f"`{option}` is {path}, which cannot be read without executing it, or at all "
            f"({type(error).__name__}); expected {expected}. Save it again, with tensors only: "
            "`torch.save(tensor, path)` or `torch.save(model.state_dict(), path)`."
        ) from error


def _read_pt(path: Path) -> Any:
    return torch.load(path, weights_only=True, map_location="cpu")


def _read_npy(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))
