"""Times to a training loss, and how far they spread over activations."""

from collections.abc import Mapping, Sequence

import numpy as np

from isometry._typing import Real
from isometry.experiments.engine.runs import Run
from isometry.experiments.parts.training import steps_to


def times(
    runs: Sequence[Run], scheme: str, level: float, *, key: str = "scheme"
) -> dict[str, dict[int, float | None]]:
    """Return the steps to a loss, per activation and seed; ``None`` where it is not reached.

    Args:
        runs: Training runs.
        scheme: Which of them.
        level: The training loss.
        key: The setting that names the scheme: "scheme", or "rung" of the ladder.
    """
    found: dict[str, dict[int, float | None]] = {}
    for run in runs:
        if run.config.settings[key] == scheme:
            reached = steps_to(run.history(), level)
            found.setdefault(run.config.settings["activation"], {})[run.config.seed] = reached
    return found


def log_spread(table: Mapping[str, Mapping[int, float | None]], *, censored: Real) -> float:
    """Return the standard deviation over activations of the mean log time over seeds.

    Args:
        table: What :func:`times` returned.
        censored: Steps that stand for a time that was not reached: the spread is then a lower
            bound.
    """
    return float(np.std(list(mean_log_times(table, censored=censored).values()), ddof=1))


def mean_log_times(
    table: Mapping[str, Mapping[int, float | None]], *, censored: Real
) -> dict[str, float]:
    """Return every activation's log time to the loss, averaged over seeds.

    Args:
        table: What :func:`times` returned.
        censored: Steps that stand for a time that was not reached.
    """
    return {
        phi: float(np.mean([np.log(max(censored if t is None else t, 1.0)) for t in row.values()]))
        for phi, row in table.items()
    }


def bootstrap(
    first: Mapping[str, Mapping[int, float | None]],
    second: Mapping[str, Mapping[int, float | None]],
    *,
    censored: Real,
    rng: np.random.Generator,
    draws: int = 1000,
) -> tuple[float, float]:
    """Return a 95 % interval of the ratio of two log spreads, by resampling seeds.

    Args:
        first: Times of the numerator.
        second: Times of the denominator.
        censored: As in :func:`log_spread`.
        rng: Source of the resampling; an activation's seeds are drawn anew, independently.
        draws: Number of resamplings.
    """
    ratios = [
        log_spread(_resampled(first, rng), censored=censored)
        / max(log_spread(_resampled(second, rng), censored=censored), 1e-12)
        for _ in range(draws)
    ]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def _resampled(
    table: Mapping[str, Mapping[int, float | None]], rng: np.random.Generator
) -> dict[str, dict[int, float | None]]:
    drawn = {}
    for name, row in table.items():
        values = list(row.values())
        drawn[name] = {k: values[j] for k, j in enumerate(rng.integers(len(values), size=len(row)))}
    return drawn
