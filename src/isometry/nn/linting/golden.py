"""Golden files: what an initialisation was like, to hold another day's to it.

A golden file has no weights, only names, roles, shapes and a few numbers. Another seed passes: two
standard deviations of n entries are one where they differ by no more than chance allows.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isometry._typing import Checked
from isometry.nn.linting.finding import Finding, LintReport, ordered
from isometry.nn.linting.golden_file import SCHEMA, read_golden, structure
from isometry.nn.linting.statistics import Summary
from isometry.nn.roles.parts import Part

_NOISE = 256
"""Entries from which a buffer is told from a ladder of frequencies by its mean of 0."""
_SIGMAS = 6.0
"""Standard errors within which two draws are of one rule."""
_EXACT = 1e-5
"""Relative difference allowed of what is not drawn: constants and buffers."""
_FEW = 4
"""Names of a difference in structure that are told."""


def golden(report: LintReport) -> dict[str, Any]:
    """Return what a golden file holds of a model that was linted, of JSON's types.

    Raises:
        ValueError: If the weights have no values to remember.
    """
    if not report.summaries:
        held = f"{len(report.parts)} parameters and buffers without" if report.parts else "no"
        raise ValueError(
            f"a golden file has nothing to hold: {report.model} has {held} values; expected a "
            "model with weights in memory. Materialise a meta model and initialise it first."
        )
    parts = {part.name: _entry(part, report.summaries.get(part.name)) for part in report.parts}
    return {
        "schema": SCHEMA,
        "model": report.model,
        "remark": report.remark,
        "structure": structure(parts),
        "parts": parts,
    }


def save_golden(report: LintReport, path: str | Path) -> None:
    """Write a golden file.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the weights have no values to remember.
    """
    text = json.dumps(golden(report), indent=1, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def load_golden(path: Checked[str | Path]) -> dict[str, Any]:
    """Read a golden file.

    Raises:
        FileNotFoundError: If there is none.
        TypeError: If it is no path.
        ValueError: If it is no golden file, or one of another schema, or damaged.
    """
    if not isinstance(path, (str, Path)):
        raise TypeError(f"`golden` is a {type(path).__name__}; expected the path of a file.")
    return read_golden(Path(path))


def against_golden(report: LintReport, held: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return what differs from a golden file by more than chance, each an error.

    Raises:
        ValueError: If the weights have no values.
    """
    own = golden(report)
    return ordered([*_missing(held["parts"], own["parts"]), *_changed(held["parts"], own["parts"])])


def _entry(part: Part, summary: Summary | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"role": part.role, "shape": list(part.shape)}
    if summary is None or not summary.finite:
        return entry
    numbers = {"std": summary.std, "mean": summary.mean, "size": summary.size}
    return (
        entry
        | numbers
        | {
            "error": summary.standard_error if summary.std > 0 else 0.0,
            "entries": "constant" if summary.constant else summary.shape_of_entries,
        }
    )


def _missing(held: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Finding]:
    for word, names in (("gone", held.keys() - own.keys()), ("new", own.keys() - held.keys())):
        if names:
            shown = ", ".join(f"`{name}`" for name in sorted(names)[:_FEW])
            more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
            yield Finding(
                None, "golden", "error",
                f"{len(names)} parameters or buffers of the golden file are {word}: {shown}{more}."
                if word == "gone" else
                f"{len(names)} parameters or buffers are new: {shown}{more}.",
                "Save a new golden file if that is meant.", float(len(names)),
            )  # fmt: skip


def _changed(held: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Finding]:
    remedy = "Save a new golden file if that is meant."
    for name in (name for name in own if name in held):
        said = _difference(held[name], own[name])
        if said is not None:
            yield Finding(name, "golden", "error", said[0], remedy, said[1])


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, float | None] | None:
    """Return what differs between two entries, and by what factor."""
    for key in ("shape", "role"):
        if old[key] != new[key]:
            return f"Its {key} was {old[key]} and is {new[key]}.", None
    if ("std" in old) != ("std" in new):
        word = "has no finite values any more" if "std" in old else "had no finite values"
        return f"It {word}.", None
    if "std" not in old:
        return None
    if _is_one_draw(old) and _is_one_draw(new):
        return None
    constant = "constant" in (old["entries"], new["entries"])
    exact = constant or (old["role"] == "buffer" and not (_is_noise(old) and _is_noise(new)))
    if exact or 0 in (old["std"], new["std"]):  # 0 also of entries that differ by rounding only
        return _exact(old, new)
    return _drawn(old, new)


def _is_one_draw(entry: Mapping[str, Any]) -> bool:
    """Return whether it is a bias of one entry that a seed may decide: torch's lie within 1."""
    return entry["role"] == "bias" and entry["size"] == 1 and 0 < abs(entry["mean"]) < 1


def _is_noise(entry: Mapping[str, Any]) -> bool:
    """Return whether entries look drawn about 0, as a buffer of random features or of vectors."""
    drawn = entry["entries"] in ("normal", "uniform") and entry["size"] >= _NOISE
    return drawn and abs(entry["mean"]) < 4 * entry["std"] / entry["size"] ** 0.5


def _exact(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, float | None] | None:
    size = max(abs(old["mean"]), old["std"], 1e-30)
    gap = max(abs(old["mean"] - new["mean"]), abs(old["std"] - new["std"])) / size
    if gap <= _EXACT:
        return None
    told = [f"{e['mean']:.4g} ± {e['std']:.3g}" for e in (old, new)]
    return f"Its entries were {told[0]} and are {told[1]}.", gap


def _drawn(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, float | None] | None:
    error = math.hypot(old["error"], new["error"])
    ratio = new["std"] / old["std"]
    if abs(math.log(ratio)) > _SIGMAS * error:
        return (
            f"Its standard deviation was {old['std']:.4g} and is {new['std']:.4g}, {ratio:.3g} "
            f"times; another seed moves it by {error:.2g} of its size.",
            ratio,
        )
    chance = math.hypot(old["std"] / old["size"] ** 0.5, new["std"] / new["size"] ** 0.5)
    if abs(new["mean"] - old["mean"]) > _SIGMAS * chance:
        return f"Its mean was {old['mean']:.3g} and is {new['mean']:.3g}.", None
    kinds = {old["entries"], new["entries"]}
    if (
        "uniform" in kinds
        and kinds & {"normal", "truncated"}
        and min(old["size"], new["size"]) > 999
    ):
        return f"Its entries were {old['entries']} and are {new['entries']}.", None
    return None
