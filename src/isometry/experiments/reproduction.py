"""All studies at one command: run what is missing, then write the page from the folder of runs."""

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isometry._result import Result
from isometry._words import Profile
from isometry.experiments.engine.runs import Run, find_run
from isometry.experiments.engine.storage import writing
from isometry.experiments.engine.sweeps import Open, Progress, SweepReport, sweep
from isometry.experiments.parts.claims import Findings, Hypothesis, section_of
from isometry.experiments.parts.study import PlannedStudy
from isometry.experiments.tasks import run_task
from isometry.plotting import figure_svg, plot_counts
from isometry.report import (
    Figure,
    Origin,
    Paragraph,
    Point,
    Points,
    Report,
    Section,
    Table,
    write_text,
)


@dataclass(frozen=True)
class Reproduction(Result):
    """What the studies found.

    Attributes:
        profile: Its name.
        findings: Per study that has a finished run.
        finished: From a study to its finished and planned runs.
        conditions: Commit, versions, machine, seconds of all runs together.
    """

    _also = "hypotheses", "numbers"

    profile: Profile
    findings: dict[str, Findings] = field(repr=False)
    finished: dict[str, tuple[int, int]]
    conditions: dict[str, Any]

    @property
    def hypotheses(self) -> list[Hypothesis]:
        """All of them, study by study."""
        return [item for found in self.findings.values() for item in found.hypotheses]

    @property
    def numbers(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """The tables of numbers of every study, by name."""
        return {name: found.numbers for name, found in self.findings.items()}

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a hypothesis."""
        return [row for item in self.hypotheses for row in item.rows()]


def run_studies(
    studies: Sequence[PlannedStudy],
    out: Path,
    *,
    open_executor: Open,
    window: int = 4,
    progress: Callable[[Progress], None] | None = None,
) -> SweepReport:
    """Do every run of the studies that is not in the folder yet.

    Args:
        studies: What :func:`isometry.experiments.profiles.studies` returned.
        out: Folder of the runs.
        open_executor: As for :func:`isometry.experiments.engine.sweeps.sweep`.
        window: Runs submitted at any time.
        progress: Called after every run.

    Returns:
        How many runs were made and found, and which failed.

    Raises:
        OSError: If the folder cannot be written or the disk is full.
        RuntimeError: If workers keep dying.
    """
    configs = [config for study in studies for config in study.configs]
    return sweep(
        configs, out, run_task, open_executor=open_executor, window=window, progress=progress
    )


def gather(studies: Sequence[PlannedStudy], out: Path, *, profile: Profile) -> Reproduction:
    """Summarise the finished runs of the studies.

    Args:
        studies: The studies.
        out: Folder of the runs.
        profile: Name for the page.

    Returns:
        The findings of every study all of whose runs are finished.

    Raises:
        ValueError: If no study is finished.
    """
    findings, finished, every = {}, {}, []
    for study in studies:
        planned = {config.id: config for config in study.configs}
        runs = [run for c in planned.values() if (run := find_run(out, c)) is not None]
        finished[study.name] = (len(runs), len(planned))
        every += runs
        if runs and len(runs) == len(planned):
            findings[study.name] = study.summarise(runs)
    if not findings:
        raise ValueError(
            f"`out` is {str(out)!r}, where no study is finished; expected all runs of one. "
            "Run the same command again: it goes on where it stopped."
        )
    return Reproduction(profile, findings, finished, _conditions(every))


def page(found: Reproduction) -> Report:
    """Return the page: how many claims pass, then each study, claims beside figures.

    Args:
        found: The findings.
    """
    passed = sum(item.holds is True for item in found.hypotheses)
    failed = sum(item.holds is False for item in found.hypotheses)
    missing = [
        f"{name} ({done} of {planned} runs)"
        for name, (done, planned) in found.finished.items()
        if done < planned
    ]
    absent = [Point(f"Not finished, hence absent: {', '.join(missing)}.", "absent", "open")]
    about = Paragraph(
        "Each claim is a sentence with a number that could have failed. The settings and the "
        "thresholds are our own choice, since the paper's are not known to this project; they were "
        "set after pilots, smaller and shorter versions of these studies."
    )
    head = Section("The claims", [about, *([Points(absent)] if missing else [])])
    figure, led = _overview(found)
    studies = [section_of(item, led=led) for item in found.findings.values()]
    of = f" of the study {next(iter(found.findings))}" if led else ""
    every = Section("All claims in one table", [Table(found.rows(), title="Claims")])
    return Report(
        f"Reproduction{of}, profile {found.profile}",
        _verdict(len(found.hypotheses), passed, failed),
        [head, *studies, every],
        tone="good" if passed == len(found.hypotheses) else "open",
        figure=figure,
        origin=_origin(found),
    )


def _verdict(claims: int, passed: int, failed: int) -> str:
    """Count the claims; what is neither passed nor failed has no number."""
    open_ = claims - passed - failed
    rest = f", {open_} not measured" if open_ else ""
    return f"{passed} of {claims} claims pass, {failed} fail{rest}."


def _overview(found: Reproduction) -> tuple[Figure, bool]:
    """Return the figure at the head, and whether it is that of the only study there is.

    Of several studies it shows how many claims of each pass and fail.
    """
    if len(found.findings) == 1:
        lead = next(iter(found.findings.values())).lead
        if lead is not None:
            return lead, True
    counts = {
        item.hypotheses[0].study if item.hypotheses else name: {
            verdict: sum(claim.verdict == verdict for claim in item.hypotheses)
            for verdict in ("pass", "fail", "not measured")
        }
        for name, item in found.findings.items()
    }
    height = 1.1 + 0.32 * len(counts)
    svg = figure_svg(lambda figure: plot_counts(figure.add_subplot(), counts), (7.2, height))
    return Figure(svg, "Claims by study."), False


def _origin(found: Reproduction) -> Origin:
    studies = [name for name, (done, planned) in found.finished.items() if done == planned]
    data = found.conditions["trained_on"]
    chosen = ["--data", data] if data else []
    command = shlex.join(["isometry", "reproduce", *studies, "--profile", found.profile, *chosen])
    named = {key.replace("_", " "): value for key, value in found.conditions.items()}
    facts = {key: value for key, value in named.items() if key != "versions"}
    return Origin([command], {**facts, "versions": found.conditions["versions"]}, {})


def write(found: Reproduction, folder: Path) -> Path:
    """Write the page (HTML, Markdown with its figures) and the numbers into a folder.

    Args:
        found: The findings.
        folder: Made if it is missing.

    Returns:
        The HTML page.

    Raises:
        OSError: If the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("reproduction-*.svg"):
            old.unlink()
    report = page(found)
    report.write_markdown(folder / "reproduction.md")
    text = json.dumps(found.to_dict(), indent=1, allow_nan=False)
    write_text(folder / "reproduction.json", text + "\n")
    return report.write_html(folder / "reproduction.html")


def _conditions(runs: Sequence[Run]) -> dict[str, Any]:
    versions = sorted({f"{k} {v}" for run in runs for k, v in run.versions.items()})
    every = [run.config.settings for run in runs]
    trained_on = sorted({each["images"] for each in every if "learning_rate" in each})
    return {
        "trained_on": ", ".join(trained_on),
        "commit": _commit(),
        "versions": ", ".join(versions),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "seconds_of_all_runs": round(sum(run.seconds for run in runs)),
    }


def _commit() -> str:
    """Return the commit of the checkout that holds this file; "unknown" outside of one."""
    here = Path(__file__).parent
    try:
        head, changed = (
            subprocess.run(
                ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--", str(here.parent)],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} with local changes" if changed else head
