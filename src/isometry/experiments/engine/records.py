"""What is asked of a run, what comes out, and the run itself: three records.

A config is JSON in one canonical spelling, and its hash the run's name. Results are finite, so that
an average over runs is never silently NaN; arrays may be anything and are marked.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from safetensors.numpy import load_file

from isometry._checks import check_integer
from isometry._result import Result, plain


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
        """Read what :meth:`text` wrote; what another version wrote besides is passed over."""
        record = json.loads(text)
        return cls(record["task"], record["seed"], record["settings"])

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
        history: One record a step, finite as well.
        arrays: Arrays by name; one with an entry that is not finite is marked in the run.
    """

    results: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]] = ()
    arrays: Mapping[str, Any] = field(default_factory=dict)

    def checked(self) -> dict[str, Any]:
        """Return results, history, arrays and the names of arrays that are not finite.

        Raises:
            ValueError: If a result or a record of the history is NaN or infinite.
        """
        results, history = plain(self.results), [plain(row) for row in self.history]
        _refuse_nan("results", results)
        _refuse_nan("history", history)
        marked = [k for k, v in self.arrays.items() if not _finite(np.asarray(v))]
        return {
            "results": results,
            "history": history,
            "arrays": self.arrays,
            "not_finite": sorted(marked),
        }


@dataclass(frozen=True)
class Run(Result):
    """A finished run.

    Attributes:
        config: What was asked.
        results: Finite numbers and words by name.
        seconds: How long it took.
        versions: Of the packages that took part.
        folder: Where its files are.
        not_finite: Names of the arrays in which something is NaN or infinite.
    """

    config: RunConfig
    results: dict[str, Any]
    seconds: float
    versions: dict[str, str]
    folder: Path
    not_finite: tuple[str, ...] = ()

    @classmethod
    def from_files(cls, place: Path, asked: Any, record: Mapping[str, Any]) -> "Run":
        """Return the run that a folder's files speak of.

        Args:
            place: ``<root>/<task>/<id>``.
            asked: Content of config.json; keys of another version are passed over.
            record: Content of run.json; likewise.

        Raises:
            ValueError: If a part is missing or damaged, or the run belongs elsewhere.
        """
        parts = {"task": str, "seed": int, "settings": dict}
        for name, kind in parts.items():
            if not isinstance(asked, dict) or type(asked.get(name)) is not kind:
                raise ValueError(f"has no {name} in config.json")
        config = RunConfig(*(asked[name] for name in parts))
        if (config.task, config.id) != (place.parent.name, place.name):
            raise ValueError("holds the config of another run")
        results, seconds, versions = (record.get(k) for k in ("results", "seconds", "versions"))
        if not (_is_duration(seconds) and isinstance(results, dict) and isinstance(versions, dict)):
            raise ValueError("has a run.json without results, seconds and versions")
        marked = record.get("not_finite")
        known = tuple(map(str, marked)) if isinstance(marked, list) else ()
        return cls(config, results, float(seconds), versions, place, known)

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
        marked = {"not finite": ", ".join(self.not_finite)} if self.not_finite else {}
        return [{**head, **self.config.settings, **kept, "seconds": self.seconds, **marked}]


Task = Callable[[RunConfig, Path], Outcome]
"""Called with the config and a folder for checkpoints, which a later attempt finds again."""


def _refuse_nan(name: str, value: Any) -> None:
    """Refuse a number that is not finite, by its place.

    Raises:
        ValueError: If there is one.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"`{name}` is {value}; expected finite numbers. Return None where there is none."
        )
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_nan(f"{name}[{key!r}]", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_nan(f"{name}[{index}]", item)


def _is_duration(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _finite(array: np.ndarray) -> bool:
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())
