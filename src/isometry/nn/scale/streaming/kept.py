"""Finished layers in a folder, each whole or not there: what a killed run goes on from."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from isometry.nn.scale.streaming.passed import Passed, packed, unpacked

_REQUEST, _RECORD, _TENSORS = "request.json", "layer.json", "output.safetensors"


class Kept:
    """A folder with one folder for every finished layer."""

    def __init__(self, folder: Path, request: Mapping[str, Any]) -> None:
        """Open a folder that is new, or of the same request.

        Raises:
            ValueError: If the folder holds something else.
            OSError: If it cannot be made or written.
        """
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(request, sort_keys=True, indent=1) + "\n"
        held = folder / _REQUEST
        if not held.exists():
            if any(folder.iterdir()):
                raise ValueError(
                    f"`out` is {folder}, which holds other files; expected a new or empty folder, "
                    "or one of the same run. Choose another."
                )
            _write(held, text.encode())
        elif held.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"`out` is {folder}, which holds a run of {_difference(held, request)}; expected "
                "the same model, input and options. Choose another folder, or delete it."
            )

    def read(self, number: int) -> Passed | None:
        """Return what a layer's call left; None where it is not finished.

        Raises:
            ValueError: If what is there is not what was written.
        """
        place = self._folder / f"{number:04d}"
        if not place.is_dir():
            return None
        try:
            record = json.loads((place / _RECORD).read_text(encoding="utf-8"))
            return unpacked(record, load_file(place / _TENSORS))
        except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
            raise ValueError(
                f"`out` has a layer in {place} that cannot be read ({type(error).__name__}: "
                f"{error}); expected what was written there. Delete that folder, and the layer is "
                "measured again."
            ) from error

    def write(self, number: int, passed: Passed) -> None:
        """Keep what a layer's call left: all of it, or nothing.

        Raises:
            NotImplementedError: If it cannot be kept.
            OSError: If it cannot be written.
        """
        record, tensors = packed(passed)
        draft = self._folder / f".{number:04d}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        _write(draft / _RECORD, json.dumps(record).encode())
        _save(draft / _TENSORS, tensors)
        _sync(draft)
        os.rename(draft, self._folder / f"{number:04d}")
        _sync(self._folder)


def _difference(held: Path, request: Mapping[str, Any]) -> str:
    """Say in which of its words a request differs from the one in a folder."""
    try:
        other = json.loads(held.read_text(encoding="utf-8"))
        words = [key for key in request if other.get(key) != request[key]]
    except (ValueError, AttributeError):
        words = []
    if not words:
        return "something else"
    return "other weights" if words[0] == "weights" else f"another {words[0]}"


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}")
    with open(draft, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file(dict(tensors), path)
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
