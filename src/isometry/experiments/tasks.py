"""From the name of a task to the function that does it: what a worker imports."""

from pathlib import Path

from isometry._checks import suggest
from isometry.experiments.engine.runs import Outcome, RunConfig, Task
from isometry.experiments.studies import (
    confounder,
    cumulants,
    learning,
    network_spectra,
    random_matrices,
)

TASKS: dict[str, Task] = {
    random_matrices.TASK: random_matrices.draw,
    cumulants.TASK: cumulants.measure,
    network_spectra.TASK: network_spectra.measure,
    learning.TASK: learning.follow,
    confounder.TASK: confounder.fit,
}


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
    task = TASKS.get(config.task)
    if task is None:
        raise ValueError(
            f"`task` is {config.task!r}; expected one of {', '.join(map(repr, TASKS))}."
            f"{suggest(config.task, TASKS)}"
        )
    return task(config, folder)
