"""A run is a folder: what was asked, what came out, and with which versions.

    <root>/<task>/<id>/  config.json  run.json  history.jsonl  arrays.safetensors

The id is a hash of the config, so the same question is asked once: a killed sweep goes on where it
stopped. A folder is written as ``<root>/.drafts/<id>`` under a claim and renamed when it is whole.
Nothing is pickled.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from isometry._checks import check_integer
from isometry._result import Result, plain
from isometry.experiments.engine.locks import claimed
from isometry.experiments.engine.threads import one_thread

_PACKAGES = ("isometry", "numpy", "scipy", "torch", "safetensors")


@dataclass(frozen=True)
class RunConfig(Result):
    """What a run is: a task, a seed and settings of JSON's types.

    Args:
        task: Name of the function that is run.
        seed: Source of everything random in it, >= 0.
        settings: Its arguments.

    Raises:
        TypeError: If the seed is not an integer or a setting is none of JSON's types.
        ValueError: If the seed is negative or a setting is NaN or infinite.
    """

    task: str
    seed: int
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_integer("seed", self.seed, minimum=0)
        try:
            self.text()
        except (TypeError, ValueError) as err:
            raise type(err)(
                f"`settings` are {dict(self.settings)!r}; expected finite numbers, words, lists "
                f"and dictionaries of JSON ({err})."
            ) from err

    @classmethod
    def from_text(cls, text: str) -> "RunConfig":
        """Read what :meth:`text` wrote."""
        return cls(**json.loads(text))

    def text(self) -> str:
        """Return the canonical JSON: the same config gives the same letters."""
        record = {"task": self.task, "seed": self.seed, "settings": dict(self.settings)}
        return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.text().encode()).hexdigest()[:16]

    def rng(self) -> np.random.Generator:
        """Return a generator that no other config shares."""
        return np.random.default_rng([self.seed, int(self.id, 16)])


@dataclass(frozen=True)
class Outcome:
    """What a task returns.

    Args:
        results: Numbers and words by name; JSON's types, finite.
        history: One record a step.
        arrays: Arrays by name.
    """

    results: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]] = ()
    arrays: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run(Result):
    """A finished run."""

    config: RunConfig
    results: dict[str, Any]
    seconds: float
    versions: dict[str, str]
    folder: Path

    def history(self) -> list[dict[str, Any]]:
        """Return the records of the history, first to last."""
        with open(self.folder / "history.jsonl", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def arrays(self) -> dict[str, Any]:
        """Return the arrays by name."""
        return load_file(self.folder / "arrays.safetensors")

    def rows(self) -> list[dict[str, Any]]:
        """Return one row: the settings and the scalar results."""
        kept = {k: v for k, v in self.results.items() if not isinstance(v, (list, dict))}
        head = {"task": self.config.task, "id": self.config.id, "seed": self.config.seed}
        return [{**head, **self.config.settings, **kept, "seconds": self.seconds}]


Task = Callable[[RunConfig, Path], Outcome]
"""Called with the config and a folder for checkpoints, which a later attempt finds again."""


def find_run(root: Path, config: RunConfig) -> Run | None:
    """Return a finished run, or ``None`` if there is none."""
    return _read(_place(root, config))


def all_runs(root: Path) -> Iterator[Run]:
    """Yield every finished run below ``root``, sorted by task and id.

    Raises:
        FileNotFoundError: If ``root`` is not a folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"`root` is {str(root)!r}; expected the folder of a sweep's runs.")
    for path in sorted(root.glob("[!.]*/*/run.json")):
        run = _read(path.parent)
        if run is not None:
            yield run


def perform(root: Path, config: RunConfig, task: Task) -> str:
    """Do a run unless it is done or somebody else is at it.

    Args:
        root: Folder of the runs; made if it is missing.
        config: What to do.
        task: How to do it.

    Returns:
        "made", "found" (it was done before) or "busy" (another process has the claim).

    Raises:
        OSError: If the folder cannot be written, or the disk is full.
    """
    if find_run(root, config) is not None:
        return "found"
    with writing(root):
        for folder in (root / ".claims", root / ".drafts", root / config.task):
            folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with writing(root):
            claim = held.enter_context(claimed(root / ".claims", config.id))
        if claim is None:
            return "busy"
        if find_run(root, config) is not None:
            return "found"
        draft = root / ".drafts" / config.id
        with writing(root):
            draft.mkdir(exist_ok=True)
        start = time.perf_counter()
        with one_thread():
            outcome = task(config, draft)
        with writing(root):
            _write(draft, config, outcome, time.perf_counter() - start)
            if not claim.exists():  # silent for too long, and taken over
                return "busy"
            os.replace(draft, _place(root, config))
    return "made"


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turn a failure to write into one sentence about the folder.

    Raises:
        OSError: With the system's reason, the folder and what to do.
    """
    try:
        yield
    except OSError as err:
        raise OSError(
            err.errno,
            f"`out` is {str(root)!r}, which cannot be written ({err.strerror}); expected a folder "
            "with free space that may be written to. Finished runs are kept: make room or choose "
            "another folder, and start again",
        ) from err


def _place(root: Path, config: RunConfig) -> Path:
    return root / config.task / config.id


def _read(folder: Path) -> Run | None:
    try:
        config = (folder / "config.json").read_text(encoding="utf-8")
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Run(RunConfig.from_text(config), folder=folder, **record)


def _write(draft: Path, config: RunConfig, outcome: Outcome, seconds: float) -> None:
    """Write the four files and remove what checkpoints left."""
    for left in draft.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    lines = [json.dumps(plain(record), allow_nan=False) + "\n" for record in outcome.history]
    (draft / "history.jsonl").write_text("".join(lines), encoding="utf-8")
    arrays = {name: np.ascontiguousarray(array) for name, array in outcome.arrays.items()}
    save_file(arrays, draft / "arrays.safetensors")
    (draft / "config.json").write_text(config.text() + "\n", encoding="utf-8")
    record = {
        "results": plain(outcome.results),
        "seconds": round(seconds, 3),
        "versions": _versions(),
    }
    (draft / "run.json").write_text(
        json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
