"""The fair comparison of activations, one's own among them."""

from functools import partial
from pathlib import Path

from isometry._words import ExecutorName, Profile
from isometry.cli.output import complain, emit, json_text
from isometry.cli.progress import of_runs, progress
from isometry.cli.reproduce import window_of


def compare_activations(
    *activations: str,
    profile: Profile = "quick",
    data: str = "digits",
    out: Path = Path("runs"),
    report: Path = Path("comparison"),
    executor: ExecutorName = "process",
    workers: int = 2,
    scheduler: str | None = None,
    json: bool = False,
) -> None:
    """Train one network with every activation, at every rung of the ladder of initialisations.

    Killed at any time, the same command goes on where it stopped.

    Args:
        activations: Names, or module:attribute of a function of torch tensors; two or more.
        profile: smoke, quick or full.
        data: Image set to train on.
        out: Folder of the runs, which all workers must see.
        report: Folder for the page, its figures and the numbers.
        executor: serial, process, dask, ray or submitit.
        workers: Processes of this machine.
        scheduler: Address of a running dask or ray cluster, or the partition of Slurm.
        json: Print JSON.

    Raises:
        RuntimeError: If a run failed; what finished is kept and reported.
    """
    import warnings

    from isometry.data import load_images
    from isometry.experiments.compare import compare_activations as compare
    from isometry.experiments.engine.executors import open_executor

    load_images(data, limit=1)  # what is missing is missed now, and not by every run
    with warnings.catch_warnings(), progress("runs") as show:
        warnings.simplefilter("ignore")  # what is left out is printed below
        found = compare(
            activations,
            images=data,
            profile=profile,
            out=out,
            open_executor=partial(open_executor, executor, workers, address=scheduler),
            window=window_of(executor, workers),
            progress=of_runs(show),
        )
    for where, why in found.refused.items():
        complain("left out", f"{where}: {why}")
    complain("written", found.write(report))
    if json:
        print(json_text(found))  # noqa: T201
    else:
        record = {
            "images": found.images,
            "runs made": found.runs_made,
            "steps": found.rows(),
            "claims": [row for item in found.findings.hypotheses for row in item.rows()],
        }
        emit(record, as_json=False, tables=["steps", "claims"])
    if found.failed:
        complain("failed", found.failed[0])
        raise RuntimeError(f"{len(found.failed)} runs failed; finished ones are kept.")
