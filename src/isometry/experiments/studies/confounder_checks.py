"""Does the answer of the confounder studies hang on the training loss or on the shared sigma_w?"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from isometry._typing import Real
from isometry.experiments.engine.runs import Run
from isometry.experiments.parts.rungs import SCHEMES
from isometry.experiments.studies.confounder_times import log_spread, mean_log_times, times

ENOUGH = 0.75
"""Fraction of the runs that must reach a loss for the spread of their times to be measured."""

Times = Mapping[str, Mapping[int, float | None]]


def ratio(ours: Times, theirs: Times, steps: Real) -> float:
    """Return the log spread of the times of ``ours`` over that of ``theirs``.

    Args:
        ours: What :func:`isometry.experiments.studies.confounder_times.times` returned.
        theirs: The same, of another scheme.
        steps: Stand for a time that was not reached.
    """
    return log_spread(ours, censored=steps) / max(log_spread(theirs, censored=steps), 1e-12)


def correlation(ours: Times, theirs: Times, steps: Real) -> float | None:
    """Return how far the activations keep their mean log times from one scheme to the other.

    Args:
        ours: What :func:`isometry.experiments.studies.confounder_times.times` returned.
        theirs: The same, of another scheme, for the same activations.
        steps: Stand for a time that was not reached.

    Returns:
        Pearson's correlation over activations; ``None`` where a scheme has no spread, or for fewer
        than three.
    """
    first, second = (mean_log_times(table, censored=steps) for table in (ours, theirs))
    pairs = np.array([(first[phi], second[phi]) for phi in first])
    if len(pairs) < 3 or pairs.std(axis=0).min() < 1e-12:
        return None
    return float(np.corrcoef(pairs.T)[0, 1])


def shared_sigma_ws(runs: Sequence[Run], ours: Times, level: float) -> dict[str, dict[Any, Any]]:
    """Return the times at every further shared sigma_w, for the activations of ``ours``.

    Args:
        runs: Training runs.
        ours: Times at equal c.
        level: The training loss.

    Returns:
        From "equal sigma_w = 2" and its like, the smallest first, to what
        :func:`isometry.experiments.studies.confounder_times.times` returns.
    """
    groups: dict[float, list[Run]] = {}
    for run in runs:
        settings = run.config.settings
        if settings["scheme"] == "equal sigma_w" and settings["value"] != 1.0:
            groups.setdefault(settings["value"], []).append(run)
    tables = {
        f"equal sigma_w = {value:g}": times(groups[value], "equal sigma_w", level)
        for value in sorted(groups)
    }
    return {
        name: {phi: row for phi, row in table.items() if phi in ours}
        for name, table in tables.items()
    }


def times_of_schemes(
    runs: Sequence[Run], activations: Collection[str], level: float
) -> dict[str, dict[str, dict[int, float | None]]]:
    """Return the times of the three schemes, for these activations.

    Args:
        runs: Training runs of the three schemes.
        activations: That all schemes have.
        level: The training loss.
    """
    return {
        scheme: {k: v for k, v in times(runs, scheme, level).items() if k in activations}
        for scheme in SCHEMES
    }


def ratios_by_level(
    runs: Sequence[Run], activations: Collection[str], levels: Sequence[float], steps: Real
) -> list[dict[str, Any]]:
    """Return, per training loss, the ratio of the spreads and who reached it.

    Args:
        runs: Training runs of the three schemes.
        activations: That all schemes have.
        levels: Training losses.
        steps: Stand for a time that was not reached.
    """
    rows = []
    for level in levels:
        schemes = times_of_schemes(runs, activations, level)
        row: dict[str, Any] = {"training loss": round(level, 6)}
        for other in ("equal sigma_w", "He"):
            both = schemes["equal c"], schemes[other]
            known = len(activations) > 1 and all(_reached(table) > 0.5 for table in both)
            row[f"over {other}"] = ratio(*both, steps) if known else None
        row |= {f"reached at {name}": _reached(table) for name, table in schemes.items()}
        rows.append(row)
    return rows


def chosen_level(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the lowest training loss that enough runs of every scheme reach, or the highest.

    Args:
        rows: What :func:`ratios_by_level` returned. The choice looks at who reached, not at ratios.
    """
    reached = [
        row["training loss"]
        for row in rows
        if min(row[f"reached at {scheme}"] for scheme in SCHEMES) >= ENOUGH
    ]
    return min(reached, default=max(row["training loss"] for row in rows))


def _reached(table: Times) -> float:
    return float(np.mean([t is not None for row in table.values() for t in row.values()]))
