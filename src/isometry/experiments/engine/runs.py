"""A run is a folder: what was asked, what came out, and with which versions.

    <root>/<task>/<id>/  config.json  run.json  history.jsonl  arrays.safetensors

The id is a hash of the config, so the same question is asked once: a killed sweep goes on where it
stopped. A folder is written below ``<root>/.drafts`` under a claim and renamed when it is whole.
What lies in a run's place and is no run is named, set aside in ``<root>/.damaged`` and made again.
Nothing is pickled.
"""

import importlib.metadata
import os
import platform
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from isometry.experiments.engine.locks import claimed
from isometry.experiments.engine.records import Outcome, Run, RunConfig, Task
from isometry.experiments.engine.storage import (
    is_about_the_folder,
    packed,
    read_folder,
    remove,
    set_aside,
    sync_folder,
    watching_the_disk,
    write_folder,
    writing,
)
from isometry.experiments.engine.threads import one_thread

__all__ = [
    "Outcome",
    "Run",
    "RunConfig",
    "Task",
    "all_runs",
    "examine",
    "find_run",
    "perform",
    "place_of",
]

_PACKAGES = ("isometry", "numpy", "scipy", "torch", "safetensors")
_NAME = re.compile(r"\w[\w.+ -]{0,99}")  # of a task, hence of a folder
_ID = re.compile(r"[0-9a-f]{16}")


def place_of(root: Path, config: RunConfig) -> Path:
    """Return a run's folder, ``<root>/<task>/<id>``.

    Raises:
        ValueError: If the task's name leads out of ``root``, or cannot be a folder's.
    """
    name: object = config.task
    if not (isinstance(name, str) and _NAME.fullmatch(name)) or name[-1] in ". ":
        raise ValueError(
            f"`task` is {str(name)[:100]!r}; expected a name of letters, digits, '_', '-', '+', "
            "'.' and spaces, which becomes a folder's. Rename the task."
        )
    return root / config.task / config.id


def find_run(root: Path, config: RunConfig) -> Run | None:
    """Return a finished run, or ``None`` if there is none; what is none is warned of by name.

    Raises:
        ValueError: If the task's name cannot be a folder's.
    """
    place = place_of(root, config)
    run, reason = examine(place)
    if reason:
        _warn(f"{place} {reason}; it is not taken for a run and is made again by the next sweep.")
    return run


def examine(place: Path) -> tuple[Run | None, str]:
    """Return the run in a place, and if what is there is none, the reason.

    Args:
        place: ``<root>/<task>/<id>``.

    Returns:
        The run and "", or ``None`` and why: "" if there is nothing.
    """
    if not os.path.lexists(place):
        return None, ""
    try:
        return Run.from_files(place, *read_folder(place)), ""
    except OSError as err:
        return None, f"cannot be read ({err.strerror or err})"
    except (ValueError, TypeError, LookupError) as err:
        return None, str(err)


def all_runs(root: Path) -> Iterator[Run]:
    """Yield every finished run below ``root``, sorted by task and id; what is none is warned of.

    Raises:
        FileNotFoundError: If ``root`` is not a folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"`root` is {str(root)!r}; expected the folder of a sweep's runs.")
    for place in sorted(root.glob("[!.]*/*")):
        # Folders that are neither named nor filled like a run are somebody's, and no damage.
        if _ID.fullmatch(place.name) or (place / "run.json").exists():
            run, reason = examine(place)
            if reason:
                _warn(f"{place} {reason}; it is left out.")
            if run is not None:
                yield run


def perform(root: Path, config: RunConfig, task: Task) -> str:
    """Do a run unless it is done or somebody else is at it.

    A damaged or foreign folder in the run's place is set aside with a warning that names it.

    Args:
        root: Folder of the runs; made if it is missing.
        config: What to do.
        task: How to do it.

    Returns:
        "made", "found" (it was done before) or "busy" (another process has the claim).

    Raises:
        OSError: If the folder cannot be written, or the disk is full.
        ValueError: If the task's name cannot be a folder's, or a result is NaN or infinite.
        RuntimeError: If what lies in the run's place can be neither read nor moved.
    """
    place = place_of(root, config)
    if examine(place)[0] is not None:
        return "found"
    with writing(root):
        for folder in (root / ".claims", root / ".drafts"):
            folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with writing(root):
            claim = held.enter_context(claimed(root / ".claims", config.id))
        if claim is None:
            return "busy"
        run, reason = examine(place)
        if run is not None:
            return "found"
        _clear(root, place, reason)
        return _make(root, config, task, claim)


def _clear(root: Path, place: Path, reason: str) -> None:
    """Make room for a run: set aside what is in its place, or in that of its task's folder.

    Raises:
        OSError: If the folder cannot be written.
        RuntimeError: If something there cannot be moved.
    """
    if os.path.lexists(place.parent) and not place.parent.is_dir():
        place, reason = place.parent, "is no folder"
    if reason:
        try:
            with watching_the_disk(root):
                target = set_aside(root, place)
        except OSError as err:
            if is_about_the_folder(err):
                raise
            raise RuntimeError(
                f"{place} {reason} and cannot be moved ({err.strerror}); expected a run or "
                "nothing. Move it away and start again."
            ) from err
        _warn(f"{place} {reason}; it was set aside as {target} and is made again.")
    with writing(root):
        (root / place.relative_to(root).parts[0]).mkdir(exist_ok=True)


def _make(root: Path, config: RunConfig, task: Task, claim: Path) -> str:
    draft = root / ".drafts" / config.id
    whole = (
        root / ".drafts" / claim.name
    )  # apart from the checkpoints, which a full disk must spare
    try:
        with writing(root):
            _open_draft(draft)
        start = time.perf_counter()
        with watching_the_disk(root), one_thread():
            outcome = task(config, draft)
        notes = {"seconds": round(time.perf_counter() - start, 3), "versions": _versions()}
        files = packed(config=config.text(), notes=notes, **_checked(outcome))
        with writing(root):
            whole.mkdir()
            write_folder(whole, files)
            if not claim.exists():  # silent for too long, and taken over
                return "busy"
            os.rename(whole, place_of(root, config))
            sync_folder(place_of(root, config).parent)
            remove(draft)
    except OSError:
        if not claim.exists():  # its new owner tidied up
            return "busy"
        raise
    finally:
        remove(whole)
        if draft.is_dir() and not any(draft.iterdir()):
            draft.rmdir()
    return "made"


def _checked(outcome: object) -> dict[str, Any]:
    """Return the parts of what a task returned.

    Raises:
        TypeError: If it is no outcome.
    """
    if not isinstance(outcome, Outcome):
        raise TypeError(
            f"`task` returned {type(outcome).__name__}; expected an Outcome with its results."
        )
    return outcome.checked()


def _open_draft(draft: Path) -> None:
    """Make the folder of checkpoints if it is not there; drop what killed owners left beside it."""
    for left in draft.parent.glob(f"{draft.name}.*"):
        remove(left)
    if not draft.is_dir():
        remove(draft)
        draft.mkdir()


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=3)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
