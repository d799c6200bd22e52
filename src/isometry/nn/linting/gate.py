"""A gate for tests and CI: what lint finds becomes a failure."""

from dataclasses import replace
from pathlib import Path

from isometry._typing import Checked
from isometry.nn.linting.finding import LintReport, Severity, ordered, severity_of
from isometry.nn.linting.golden import against_golden, load_golden
from isometry.nn.linting.lint import lint
from isometry.nn.roles.follow import NO_INPUT
from isometry.nn.roles.recipes import RecipeLike
from isometry.nn.sandbox._typing import Model, ModelInput


def assert_initialised(
    model: Model,
    x: ModelInput = None,
    *,
    recipe: RecipeLike = None,
    golden: Checked[str | Path | None] = None,
    trained: bool = False,
    fail_on: Checked[Severity] = "warning",
) -> LintReport:
    """Raise an AssertionError where a model's initialisation did not land.

    Args:
        model: As for :func:`isometry.nn.lint`.
        x: As for :func:`isometry.nn.lint`.
        recipe: As for :func:`isometry.nn.lint`.
        golden: A golden file, as ``isometry lint --save`` writes it, that the model is held to.
        trained: As for :func:`isometry.nn.lint`.
        fail_on: The least severity that fails: "error", "warning" or "note".

    Returns:
        The report, for what it notes.

    Raises:
        AssertionError: If something of that severity is found; the message is the report.
        FileNotFoundError: If there is no golden file of that name.
        TypeError: As :func:`isometry.nn.lint` does.
        ValueError: If the recipe or the severity is not known, the golden file is none, or it was
            saved with an input and there is none now, or the other way round.

    Examples:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
        >>> assert_initialised(net, torch.ones(1, 4))
        LintReport(Sequential: 0 errors, 0 warnings, 0 notes)
    """
    __tracebackhide__ = True  # pytest shows the user's line and the report, not this function
    least = severity_of("fail_on", fail_on)
    report = lint(model, x, recipe=recipe, trained=trained)
    if golden is not None:
        report = with_golden(report, golden)
    if report.worst(least):
        raise AssertionError(f"the initialisation did not land:\n{report}")
    return report


def with_golden(report: LintReport, path: str | Path) -> LintReport:
    """Return a report with what differs from a golden file among its findings.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it is no path.
        ValueError: If it is no golden file, or was saved with an input and the report is without
            one, or the other way round.
    """
    held = load_golden(path)
    blind, now = NO_INPUT in held["remark"], NO_INPUT in report.remark
    if blind != now:  # of what was not run no role is known: all of them would differ
        words = ("without", "with", "Leave `x` out") if blind else ("with", "without", "Pass `x`")
        raise ValueError(
            f"`golden` is {path}, which was saved {words[0]} an input, and the model is linted "
            f"{words[1]} one; expected the same. {words[2]}, or make the file again."
        )
    differing = against_golden(report, held)
    return replace(report, findings=ordered([*report.findings, *differing]))
