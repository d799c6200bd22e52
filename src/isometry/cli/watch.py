"""The command that shows what running monitors have measured so far, while they run."""

import json as text_json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isometry._result import format_cell
from isometry.cli.answers import WatchAnswer
from isometry.cli.output import json_text
from isometry.cli.progress import time_left

if TYPE_CHECKING:
    from rich.console import RenderableType

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 32
_MOST = 64e6
"""Bytes of a file from which on only its end is read."""


def watch(*places: Path, every: float = 1.0, once: bool = False, json: bool = False) -> None:
    """Show what running monitors have measured, as it comes; stop with Ctrl-C.

    A monitor writes a file with `JacobianMonitor(log=inn.adapters.jsonl_log("runs/a/m.jsonl"))`.

    Args:
        places: Files that end in .jsonl, or folders of them; the folder runs without.
        every: Seconds between two looks, > 0.
        once: Look once and end.
        json: Print what was read as JSON, once.

    Raises:
        FileNotFoundError: If there is no such place, or no file in it that a monitor wrote.
        ValueError: If the seconds are not above 0.
    """
    if not every > 0:
        raise ValueError(f"`every` is {every:g}; expected seconds > 0.")
    looked = {path: measurements(path) for path in files(places or (Path("runs"),))}
    if json:
        found = WatchAnswer({str(path): rows for path, rows in looked.items()})
        print(json_text(found))  # noqa: T201
        return
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if once or not console.is_terminal:
        console.print(shown(looked, time.time()))
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(shown(looked, time.time()), refresh=True)
            time.sleep(every)
            looked = {path: measurements(path) for path in files(places or (Path("runs"),))}


def files(places: Sequence[Path]) -> list[Path]:
    """Return the files of the places, those below folders included.

    Raises:
        FileNotFoundError: If a place does not exist, or none holds a file.
    """
    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"`PLACES` is {place}; expected an existing file or folder.")
        found += sorted(place.rglob("*.jsonl")) if place.is_dir() else [place]
    known = [path for path in found if measurements(path)]
    if not known:
        where = ", ".join(map(str, places))
        raise FileNotFoundError(
            f"`PLACES` is {where}, where no monitor has written; expected a .jsonl file of one. "
            "Let it log to `inn.adapters.jsonl_log(path)`."
        )
    return known


def measurements(path: Path) -> list[dict[str, Any]]:
    """Return the measurements in a file, first to last; lines that are none are passed over.

    The last line may be half written: its end will be there at the next look.
    """
    with open(path, "rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - int(_MOST)))
        lines = stream.read().decode("utf-8", errors="replace").split("\n")
    return list(_read(lines))


def _read(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            record = text_json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            yield record


def shown(looked: Mapping[Path, Sequence[Mapping[str, Any]]], now: float) -> "RenderableType":
    """Return a table for every file: each number first, now, and as a line over the steps.

    Args:
        looked: The measurements by file.
        now: Seconds since 1970, for how long ago the last one was.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    tables: list[RenderableType] = []
    for path, rows in looked.items():
        last = rows[-1]
        ago = f", {time_left(now - float(last['time']))} ago" if "time" in last else ""
        said = f"{path}: step {last['step']}{ago}, {len(rows)} measurements"
        table = Table(box=None, pad_edge=False)
        table.add_column("")
        for name in ("first", "now"):
            table.add_column(name, justify="right")
        table.add_column("over the steps")
        names = {key: None for row in rows for key in row if key not in ("step", "time")}
        for name in names:
            values = [float(row[name]) for row in rows if isinstance(row.get(name), (int, float))]
            if values:
                table.add_row(name, format_cell(values[0]), format_cell(values[-1]), line(values))
        tables += [Text(said, style="bold"), table]
    return Group(*tables)


def line(values: Sequence[float]) -> str:
    """Return numbers as a line of bars from the least to the largest, the last ones of many."""
    kept = values[-_WIDTH:]
    low, high = min(kept), max(kept)
    if not low < high:
        return _BARS[0] * len(kept)
    return "".join(_BARS[round((x - low) / (high - low) * (len(_BARS) - 1))] for x in kept)
