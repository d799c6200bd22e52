"""The files of a run: whole and on the disk before they are renamed, checked when they are found.

A folder holds ``config.json``, ``run.json``, ``history.jsonl`` and ``arrays.safetensors``;
``run.json`` has digests of the results and of the last two. What cannot be read, or differs from
its digest, is set aside below ``<root>/.damaged`` and never deleted: it may be somebody's.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

_RESULTS = "results"
_CONFIG, _RECORD = "config.json", "run.json"
_HISTORY, _ARRAYS = "history.jsonl", "arrays.safetensors"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_BEGIN = "`out` is "


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turn a failure to write into one sentence about the folder.

    Raises:
        OSError: With the system's reason, the folder and what to do.
    """
    try:
        yield
    except (OSError, SafetensorError) as err:
        failure = _sentence(root, err)
        raise failure from err


@contextmanager
def watching_the_disk(root: Path) -> Iterator[None]:
    """Turn a full disk, and no other error of somebody's function, into that sentence.

    Raises:
        OSError: As :func:`writing`, if the disk is full or read-only; others as they are.
        SafetensorError: As it is.
    """
    try:
        yield
    except (OSError, SafetensorError) as err:
        # safetensors writes by itself and keeps the system's number in its words only
        if getattr(err, "errno", None) not in _FULL and "os error 28" not in str(err):
            raise
        failure = _sentence(root, err)
        raise failure from err


def _sentence(root: Path, err: Exception) -> OSError:
    text = getattr(err, "strerror", None) or str(err)
    if not is_about_the_folder(err):
        text = (
            f"{_BEGIN}{str(root)!r}, which cannot be written ({text}); expected a folder with "
            "free space that may be written to. Finished runs are kept: make room or choose "
            "another folder, and start again"
        )
    return OSError(getattr(err, "errno", None) or errno.EIO, text)


def is_about_the_folder(error: BaseException) -> bool:
    """Return whether an error is the sentence of :func:`writing`."""
    return isinstance(error, OSError) and _BEGIN in str(error)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it: a rename may otherwise overtake its content."""
    with open(path, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def packed(
    *,
    config: str,
    results: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, Any],
    not_finite: Sequence[str],
    notes: Mapping[str, Any],
) -> dict[str, bytes]:
    """Return the four files of a run, by name.

    Args:
        config: Canonical JSON of what was asked.
        results: Finite numbers and words by name.
        history: One record a step.
        arrays: By name; anything NumPy takes and safetensors has a type for.
        not_finite: Names of the arrays in which something is not finite.
        notes: Seconds and versions.

    Raises:
        TypeError: If an array is of another type, such as objects or words.
    """
    named = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name, array in named.items():
        if array.dtype.kind not in "biufc":
            raise TypeError(
                f"`arrays[{name!r}]` has the type {array.dtype}; expected numbers. Put words into "
                "`results`."
            )
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in history)
    files = {_HISTORY: lines.encode(), _ARRAYS: save(named)}
    digests = {name: _digest(content) for name, content in files.items()}
    digests[_RESULTS] = _digest(_canonical(results))
    record = {_RESULTS: results, **notes, "sha256": digests, "not_finite": list(not_finite)}
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    return files | {_CONFIG: f"{config}\n".encode(), _RECORD: text.encode()}


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder that exists, all on the disk when it returns.

    Raises:
        OSError: If a file cannot be written.
    """
    for name, content in files.items():
        write_synced(folder / name, content)
    sync_folder(folder)


def read_folder(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return config and record of a run's folder after checking all four files.

    Raises:
        ValueError: If a file is missing, cannot be read or is not what was written.
        OSError: If the system refuses to read one.
    """
    for name in (_CONFIG, _RECORD, _HISTORY, _ARRAYS):
        if not (folder / name).is_file():
            raise ValueError(f"has no {name}")
    config, record = _json(folder / _CONFIG), _json(folder / _RECORD)
    if not isinstance(record, dict):
        raise ValueError(f"has a {type(record).__name__} in {_RECORD}, not a dictionary")
    digests = record.get("sha256", {})
    if not isinstance(digests, dict):
        raise ValueError(f"has no digests in {_RECORD}")
    if digests.get(_RESULTS, "") not in ("", _digest(_canonical(record.get(_RESULTS)))):
        raise ValueError(f"has other results in {_RECORD} than were written")
    for name, parse in ((_HISTORY, _history), (_ARRAYS, _arrays)):
        content = (folder / name).read_bytes()
        if name not in digests:  # of an earlier version
            parse(content)
        elif _digest(content) != digests[name]:
            raise ValueError(f"has another {name} than was written")
    return config, record


def set_aside(root: Path, place: Path) -> Path:
    """Move what is no run out of the way of one, and return where it is now.

    Args:
        root: Folder of the runs.
        place: What to move, below ``root``.

    Raises:
        OSError: If it cannot be moved.
    """
    target = root / ".damaged" / place.relative_to(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while os.path.lexists(target):
        number += 1
        target = target.with_name(f"{place.name}-{number}")
    os.rename(place, target)
    return target


def remove(path: Path) -> None:
    """Delete a file or a folder of our own making, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _json(path: Path) -> Any:
    content = path.read_bytes()
    if not content.strip(b"\0 \r\n\t"):
        raise ValueError(f"has an empty {path.name}")
    try:
        return json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as err:
        raise ValueError(f"has a {path.name} that cannot be read ({err})") from err


def _refuse(word: str) -> Any:
    raise ValueError(f"it holds {word}, which is no number")


def _history(content: bytes) -> None:
    try:
        for line in content.splitlines():
            json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as err:
        raise ValueError(f"has a {_HISTORY} that cannot be read ({err})") from err


def _arrays(content: bytes) -> None:
    try:
        load(content)
    except (SafetensorError, ValueError, LookupError) as err:
        raise ValueError(f"has {_ARRAYS} that cannot be read ({err})") from err
