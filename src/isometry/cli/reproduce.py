"""The studies at one command, and their runs as one table."""

import re
from collections.abc import Sequence
from csv import writer
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from isometry._words import ExecutorName, Profile
from isometry.cli.answers import ExportAnswer
from isometry.cli.output import check_folder, check_place, complain, emit, json_text
from isometry.cli.progress import of_runs, progress
from isometry.report import write_text


def reproduce(
    *studies: str,
    profile: Profile = "quick",
    out: Path = Path("runs"),
    data: str | None = None,
    executor: ExecutorName = "process",
    workers: int = 2,
    scheduler: str | None = None,
    publish: Path | None = None,
    json: bool = False,
) -> None:
    """Re-measure the paper's claims: run what is missing, then write the page.

    Killed at any time, the same command goes on where it stopped; two of them on one folder share
    the work.

    Args:
        studies: Names of studies; all without. A wrong one is answered with the list.
        profile: smoke, quick or full.
        out: Folder of the runs, which all workers must see.
        data: Image set to train on; digits for smoke and quick, the best found for full.
        executor: serial, process, dask, ray or submitit.
        workers: Processes of this machine.
        scheduler: Address of a running dask or ray cluster, instead of processes of this machine;
            of submitit the partition of Slurm.
        publish: Folder for the page as well, such as docs/reproduction.
        json: Print JSON.

    Raises:
        RuntimeError: If a run failed; what finished is kept and reported.
    """
    from isometry.experiments.engine.executors import open_executor
    from isometry.experiments.profiles import studies as planned
    from isometry.experiments.reproduction import gather, run_studies, write

    check_folder("--out", out)
    check_folder("--publish", publish)
    images = _images(data, profile)
    plan = planned(profile, images, only=studies)
    opened = partial(open_executor, executor, workers, address=scheduler)
    with progress("runs") as show:
        report = run_studies(
            plan,
            out,
            open_executor=opened,
            window=window_of(executor, workers),
            progress=of_runs(show),
        )
    for place, reason in report.damaged.items():
        complain("set aside", f"{place} {reason}; it was made again.")
    for error in list(report.failed.values())[:3]:
        complain("failed", error)
    found = gather(plan, out, profile=profile)
    target = write(found, out)
    if publish is not None:
        write(found, publish)
    complain("written", target)
    complain("runs", f"{report.made} made, {report.found} found.")
    if json:
        print(json_text(found))  # noqa: T201
    else:
        emit({"claims": found.rows()}, as_json=False, tables=["claims"])
    if report.failed:
        raise RuntimeError(f"{len(report.failed)} runs failed; finished ones are kept.")


def export(
    *,
    out: Path = Path("runs"),
    csv: Path | None = None,
    parquet: Path | None = None,
    json: bool = False,
) -> None:
    """Write all finished runs as one table: settings and results, a line a run.

    A word that a spreadsheet would take for a formula gets an apostrophe in front; a folder that is
    no run is named and left out.

    Args:
        out: Folder of the runs.
        csv: File to write.
        parquet: File to write; needs pandas and pyarrow.
        json: Print JSON.

    Raises:
        FileNotFoundError: If the directory of a file does not exist.
        ValueError: If nothing is to be written or printed, or there is no run.
        OSError: If a file cannot be written.
        ImportError: If pandas or pyarrow is missing for parquet.
    """
    from isometry.experiments.engine.runs import all_runs

    if csv is None and parquet is None and not json:
        raise ValueError(
            "`--csv`, `--parquet` and `--json` are all missing; give at least one of them."
        )
    check_place("--csv", csv)
    check_place("--parquet", parquet)
    rows = [row for run in all_runs(out) for row in run.rows()]
    if not rows:
        raise ValueError(f"`--out` is {str(out)!r}, which holds no finished run.")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if csv is not None:
        _write_csv(csv, columns, rows)
    if parquet is not None:
        _write_parquet(parquet, columns, rows)
    files = " and ".join(str(path) for path in (csv, parquet) if path is not None)
    if files:
        complain("written", f"{len(rows)} runs to {files}")
    if json:
        filled = [{key: row.get(key) for key in columns} for row in rows]
        print(json_text(ExportAnswer(filled)))  # noqa: T201


def _images(data: str | None, profile: Profile) -> list[str]:
    """Return the image sets of a profile, the one to train on first."""
    from isometry.data import available, best_available, load_images

    first = data or (best_available() if profile == "full" else "digits")
    load_images(first, limit=1)  # what is missing is missed now, and not by every run
    if profile == "smoke":
        return [first]
    others = [name for name in ("fashion_mnist", "digits") if name in available()]
    return list(dict.fromkeys([first, *others]))


def window_of(executor: ExecutorName, workers: int) -> int:
    """Return how many runs to have submitted: two a worker, many where workers are not counted."""
    return {"serial": 1, "process": 2 * workers}.get(executor, max(64, 2 * workers))


_FORMULA = re.compile(r"\s*[=+\-@\t\r＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    text = StringIO(newline="")
    table = writer(text)
    table.writerow([_cell(name) for name in columns])
    table.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    write_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    """Return a cell that a spreadsheet does not take for a formula; numbers stay numbers."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _write_parquet(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    try:
        import pandas

        frame = pandas.DataFrame(rows, columns=list(columns))
        mixed = {name: str for name in columns if frame[name].dtype == object}
        frame.astype(mixed).to_parquet(path)
    except ImportError:
        raise ImportError(
            "`--parquet` needs pandas and pyarrow; run `pip install pandas pyarrow`."
        ) from None
