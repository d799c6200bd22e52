"""The fair comparison of activations, one's own among them: the ladder on a small budget.

What the study ladder does with ten activations on image sets at leisure, for the ones that are
asked about, within minutes: where does a difference in learning speed come from, and what of it is
left when the initialisation treats all alike?
"""

import importlib
import json
import shlex
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isometry._checks import shown
from isometry._result import Result
from isometry._typing import Checked
from isometry._words import Profile
from isometry.errors import TheoryWarning
from isometry.experiments.engine.storage import writing
from isometry.experiments.engine.sweeps import Open, Progress
from isometry.experiments.parts.claims import Findings, Hypothesis, section_of, tone_of
from isometry.experiments.parts.rungs import RUNGS, resolve, rung_settings
from isometry.experiments.parts.study import PlannedStudy, Size
from isometry.experiments.parts.training import training_settings
from isometry.experiments.reproduction import gather, run_studies
from isometry.experiments.studies import all_studies
from isometry.experiments.studies.ladder import LADDER, LEVELS, plan
from isometry.nn.networks.activation import torch_phi
from isometry.report import Origin, Point, Points, Report, Section, write_text
from isometry.theory.activations.lookup import activation

SIZES: dict[str, Size] = {
    "smoke": {
        "limit": 200, "network": {"width": 48, "depth": 6, "side": 0},
        "training": training_settings(20, 0.05), "seeds": 1, "levels": LEVELS,
        "sweep_cs": [0.1, 1.0], "sweep_seeds": 1,
    },
    "quick": {
        "limit": 1000, "network": {"width": 128, "depth": 20, "side": 0},
        "training": training_settings(150, 0.03), "seeds": 1, "levels": LEVELS,
        "sweep_cs": [0.1, 0.3, 1.0, 2.0, 4.0], "sweep_seeds": 1,
    },
    "full": {
        "limit": 10000, "network": {"width": 256, "depth": 20, "side": 0},
        "training": training_settings(800, 0.03), "seeds": 3, "levels": LEVELS,
        "sweep_cs": [0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0], "sweep_seeds": 3,
    },
}  # fmt: skip
"""Budgets; quick takes about a minute of one core per two activations."""


@dataclass(frozen=True, eq=False)
class ActivationComparison(Result):
    """What a comparison found.

    Attributes:
        activations: Their names, or import paths.
        images: The image set trained on.
        profile: The budget, one of ``SIZES``.
        findings: Hypotheses, tables and figures of the ladder.
        refused: From an activation and a rung that it cannot be brought to, to the reason.
        failed: Messages of runs that failed.
        runs_made: Runs of this call; the others were there.
    """

    activations: tuple[str, ...]
    images: str
    profile: Profile
    findings: Findings
    refused: dict[str, str]
    failed: tuple[str, ...]
    runs_made: int

    def rows(self) -> list[dict[str, Any]]:
        """Return the table: steps to the loss per rung and activation, and their spread."""
        return [{"rung": row["rung"]} | row for row in self.findings.numbers["times"]]

    def report(self) -> Report:
        """Return the page: what is left when all is equal, the claims, with what shows them."""
        sections = [section_of(self.findings, led=True)]
        if self.refused:
            points = [Point(f"{where}: {why}", "left out") for where, why in self.refused.items()]
            sections.append(Section("Left out", [Points(points)]))
        first = self.findings.hypotheses[0]
        return Report(
            f"{len(self.activations)} activations on {self.images}",
            _verdict(first),
            sections,
            tone=tone_of(first),
            numbers={"activations": ", ".join(self.activations), "profile": self.profile},
            figure=self.findings.lead,
            origin=Origin([self._command()], {"seeds": SIZES[self.profile]["seeds"]}),
        )

    def _command(self) -> str:
        words = [*self.activations, "--data", self.images, "--profile", self.profile]
        return shlex.join(["isometry", "compare-activations", *words])

    def write(self, folder: Path) -> Path:
        """Write ``comparison`` as .html, as .md with its figures, and as .json into a folder.

        Raises:
            OSError: If the folder cannot be written.
        """
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        page = self.report()
        page.write_markdown(folder / "comparison.md")
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        write_text(folder / "comparison.json", text + "\n")
        return page.write_html(folder / "comparison.html")


def _verdict(top: Hypothesis) -> str:
    """Say what is left of the differences between activations at the top of the ladder."""
    if top.number is None:
        return "Whether activations learn alike once all is equal was not measured: see the claims."
    return (
        "With everything equal that an initialisation decides, the time to a training loss varies "
        f"over these activations {top.number:.2g} times as much as at equal sigma_w."
    )


def compare_activations(
    activations: Sequence[str | Callable[..., Any]],
    *,
    out: Path,
    open_executor: Open,
    images: str = "digits",
    profile: Checked[Profile] = "quick",
    rungs: Sequence[str] = RUNGS,
    window: int = 4,
    progress: Callable[[Progress], None] | None = None,
) -> ActivationComparison:
    """Train the same network with every activation at every rung, and say what is left.

    Args:
        activations: At least two: names, import paths "module:attribute", or functions of a
            module, of torch tensors.
        out: Folder of the runs; what is there is not run again.
        open_executor: As for :func:`isometry.experiments.engine.sweeps.sweep`.
        images: Image set to train on.
        profile: One of ``SIZES``.
        rungs: Which of ``RUNGS``.
        window: Runs submitted at any time.
        progress: Called after every run.

    Returns:
        The comparison.

    Raises:
        ValueError: If there are fewer than two activations, or a name, profile or rung is unknown.
        NotImplementedError: If torch cannot differentiate an activation.
        RuntimeError: If every run failed.
        OSError: If the folder cannot be written.

    Warns:
        TheoryWarning: For every activation that cannot be brought to a rung.
    """
    names = tuple(dict.fromkeys(import_path(act) for act in activations))
    if len(names) < 2:
        raise ValueError(f"`activations` are {shown(names)}; expected two different ones or more.")
    if profile not in SIZES:
        raise ValueError(
            f"`profile` is {profile!r}; expected one of {', '.join(map(repr, SIZES))}."
        )
    for name in names:
        torch_phi(resolve(name))
    size = {**SIZES[profile], "activations": list(names), "rungs": list(rungs)}
    refused = _refused(names, rungs, size["network"]["depth"])
    for where, why in refused.items():
        warnings.warn(f"{where}: {why}", TheoryWarning, stacklevel=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TheoryWarning)  # said above, once
        asked = {key: value for key, value in size.items() if key != "levels"}
        study = PlannedStudy(LADDER, size, plan(images=images, **asked))
    all_studies()  # registers the task
    report = run_studies(
        [study], out, open_executor=open_executor, window=window, progress=progress
    )
    failed = tuple(str(error) for error in report.failed.values())
    if failed and len(failed) == len(study.configs):
        raise RuntimeError(f"Every run failed, the first one so: {failed[0]}")
    found = gather([study], out, profile=profile).findings[study.name]
    return ActivationComparison(names, images, profile, found, refused, failed, report.made)


def import_path(act: str | Callable[..., Any]) -> str:
    """Return the words by which a worker finds an activation.

    Args:
        act: A name, an import path, torch's own function or module, or a function of a module.

    Raises:
        ValueError: If a function cannot be imported by its name.
    """
    if isinstance(act, str):
        return act
    known = activation(act)
    if known.source is None and known.recipe is not None:
        return str(known)
    module, name = getattr(act, "__module__", ""), getattr(act, "__qualname__", "")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if found is not act:
        raise ValueError(
            f"`activations` contains {shown(act)}, which no worker can import; expected a name or "
            "a function at the top of a module. Write it into a file and pass 'file:name'."
        )
    return f"{module}:{name}"


def _refused(names: Sequence[str], rungs: Sequence[str], depth: int) -> dict[str, str]:
    """Return why an activation cannot be brought to a rung, where it cannot."""
    found: dict[str, str] = {}
    for rung in rungs:
        for name in names:
            try:
                rung_settings(rung, name, depth=depth, c=1.0)
            except ValueError as error:
                found[f"{name} at '{rung}'"] = str(error)
    return found
