"""From the name of a task to the function that does it: what a worker imports."""

from pathlib import Path

from isometry._checks import suggest
from isometry.experiments.engine.runs import Outcome, RunConfig, Task
from isometry.experiments.studies import all_studies


def tasks() -> dict[str, Task]:
    """Return the function of every task of the registered studies."""
    return {study.task: study.run for study in all_studies()}


def run_task(config: RunConfig, folder: Path) -> Outcome:
    """Do what a config says.

    Args:
        config: Task, seed and settings.
        folder: For checkpoints.

    Returns:
        The task's outcome.

    Raises:
        ValueError: If the task is unknown.
    """
    known = tasks()
    task = known.get(config.task)
    if task is None:
        raise ValueError(
            f"`task` is {config.task!r}; expected one of {', '.join(map(repr, known))}."
            f"{suggest(config.task, known)}"
        )
    return task(config, folder)
