"""Second readings of the ladder: each activation at its own best rate, kernels, the late end."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import rankdata

from isometry._typing import Float, Real
from isometry.experiments.engine.runs import Run
from isometry.experiments.parts.claims import Hypothesis, Reading
from isometry.experiments.parts.rungs import MODEL, RUNGS, TOP, spec_of
from isometry.experiments.parts.tables import line_figure, point_figure
from isometry.experiments.parts.training import steps_to
from isometry.experiments.studies.confounder_times import log_spread, mean_log_times, times
from isometry.report import Figure, Table
from isometry.theory.kernels import network_kernels
from isometry.theory.propagation import propagate

_HABIT = RUNGS[0]
_CORRELATIONS = np.linspace(-0.5, 1.0, 7)
"""Of two inputs; standardised images have few pairs below -0.5."""

_LEAST = 1e-3  # a logarithm has no place for 0

_SHOWN = (100, 300, 1000, 3000, 10000)
_LATE = {"accuracy": "test accuracy", "loss": "training loss"}


def best_rates(runs: Sequence[Run], level: float, steps: int, name: str) -> Reading:
    """Return the ladder's ends with every activation at its own best learning rate.

    Args:
        runs: Runs at c = 1 and one readout, of several learning rates.
        level: The training loss.
        steps: Of a run.
        name: Of the study.
    """
    rates = sorted({_rate(run) for run in runs})
    best = _best_times([run for run in runs if run.config.seed == 0], level)
    known = [rung for rung in RUNGS if rung in best]
    common = sorted(set.intersection(*(set(best[rung]) for rung in known))) if known else []
    spreads = {
        rung: log_spread({phi: {0: best[rung][phi][0]} for phi in common}, censored=steps)
        for rung in known
        if len(common) > 1
    }
    rows = [
        {"rung": rung, "spread": spreads.get(rung)}
        | {phi: f"{t:.4g} (at {rate:g})" for phi, (t, rate) in sorted(best[rung].items())}
        for rung in known
    ]
    grid = ", ".join(f"{rate:g}" for rate in rates)
    caption = (
        f"Steps to a loss of {level:g} at the best rate of {grid}, for each activation its own; "
        "one seed; the spread is over the activations that every row has."
    )
    ratio = spreads[TOP] / spreads[_HABIT] if spreads.get(_HABIT) and TOP in spreads else None
    chosen = [rate for _, rate in best.get(TOP, {}).values()]
    tested = f"{len(common)} activations, loss {level:g}, rates {grid}"
    hypotheses = [
        Hypothesis(
            name, "With each activation at its own best learning rate the time varies at the "
            "top at most half as much as at equal sigma_w", tested, ratio, high=0.5,
        ),
        Hypothesis(
            name, "At the top the best learning rate is the same for all (largest over smallest, "
            "within one step of the grid)", tested, max(chosen) / min(chosen) if chosen else None,
            high=max(b / a for a, b in pairwise(rates)) * (1 + 1e-9),
        ),
    ]  # fmt: skip
    blocks = [rate_figure(best, level), Table(rows, caption)]
    return Reading(hypotheses, blocks, {"best rates": rows})


def rate_figure(best: Mapping[str, Mapping[str, tuple[Real, Real]]], level: float) -> Figure:
    """Draw the steps at the best rate against that rate, a point per activation.

    Args:
        best: By rung and activation the fewest steps, and their rate.
        level: The training loss.
    """
    groups = {
        rung: [(rate, steps) for steps, rate in best[rung].values()]
        for rung in RUNGS
        if rung in best
    }
    caption = "Every activation at its own best learning rate, a point each: where and how fast."
    return point_figure(groups, "best learning rate", f"steps to loss {level:g}", caption)


def _best_times(runs: Sequence[Run], level: float) -> dict[str, dict[str, tuple[float, float]]]:
    """Return by rung and activation the fewest steps to a loss, and their rate."""
    lowest = min(map(_rate, runs))
    gridded = {run.config.settings["rung"] for run in runs if _rate(run) == lowest}
    best: dict[str, dict[str, tuple[float, float]]] = {}
    for run in runs:
        rung, phi = run.config.settings["rung"], run.config.settings["activation"]
        reached = steps_to(run.history(), level)
        if rung in gridded and reached is not None:
            row = best.setdefault(rung, {})
            row[phi] = min(row.get(phi, (math.inf, 0.0)), (reached, _rate(run)))
    return best


def losses(runs: Sequence[Run], step: int = 100) -> Reading:
    """Return the mean training loss early and at the end, by rung and activation.

    Args:
        runs: Runs at c = 1, of one readout and learning rate.
        step: What is early.
    """
    cells: dict[tuple[str, str], list[list[dict[str, Any]]]] = {}
    for run in runs:
        key = (run.config.settings["rung"], run.config.settings["activation"])
        cells.setdefault(key, []).append(run.history())
    last = max(histories[0][-1]["step"] for histories in cells.values())
    shown = (step, last) if step < last else (last,)
    rows = []
    for rung in (rung for rung in RUNGS if any(where == rung for where, _ in cells)):
        row: dict[str, Any] = {"rung": rung}
        for phi in sorted({phi for where, phi in cells if where == rung}):
            found = [_losses_at(history, shown) for history in cells[rung, phi]]
            means = [_mean([at[k] for at in found]) for k in range(len(shown))]
            row[phi] = " / ".join("-" if mean is None else f"{mean:.3g}" for mean in means)
        rows.append(row)
    after = f"{step} steps / after {last}" if step < last else f"{last} steps"
    caption = f"Training loss after {after} (-: diverged, or not recorded)."
    return Reading([], [Table(rows, caption)], {"losses": rows})


def _losses_at(history: Sequence[Mapping[str, Any]], steps: Sequence[int]) -> list[float | None]:
    at = {point["step"]: point["loss"] for point in history}
    return [at.get(step) for step in steps]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def kernels(runs: Sequence[Run], level: float, steps: int, name: str) -> Reading:
    """Return whether the distance of a cell's kernels from the model's predicts its time.

    Args:
        runs: Runs at c = 1, of standardised features and one learning rate.
        level: The training loss.
        steps: Of a run.
        name: Of the study.
    """
    cells = {(r.config.settings["rung"], r.config.settings["activation"]): r for r in runs}
    model = cells.get((TOP, MODEL))
    claim = (
        f"The further a cell's kernels are from those of {MODEL} at the top, the more its time "
        "differs (rank correlation over rungs and activations)"
    )
    if model is None:
        return Reading([Hypothesis(name, claim, "no run of it", None, low=0.7)], [], {})
    logs = {
        (rung, phi): log
        for rung in RUNGS
        for phi, log in mean_log_times(times(runs, rung, level, key="rung"), censored=steps).items()
    }
    reference = cell_kernels(model.config.settings)
    rows = [
        {"rung": rung, "activation": phi,
         "kernel distance": distance(cell_kernels(run.config.settings), reference),
         "log time over the model's": logs[rung, phi] - logs[TOP, MODEL]}
        for (rung, phi), run in cells.items() if run is not model
    ]  # fmt: skip
    pairs = np.array([(r["kernel distance"], abs(r["log time over the model's"])) for r in rows])
    number = _rank_correlation(pairs) if len(pairs) > 3 else None
    tested = f"{len(rows)} cells, loss {level:g}, at most {steps} steps"
    remark = "Kernels of the wide limit, from the theory alone: no run goes into the distance."
    found = Hypothesis(name, claim, tested, number, low=0.7, remark=remark)
    caption = "Distance of the kernels after the last layer, and log time, from the model's."
    return Reading([found], [kernel_figure(rows), Table(rows, caption)], {"kernels": rows})


def kernel_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw how much the times differ against how far the kernels are apart, a point per cell.

    Args:
        rows: With "rung", "kernel distance" and "log time over the model's".
    """
    groups = {
        rung: [
            (max(r["kernel distance"], _LEAST), max(abs(r["log time over the model's"]), _LEAST))
            for r in rows
            if r["rung"] == rung
        ]
        for rung in RUNGS
        if any(r["rung"] == rung for r in rows)
    }
    names = f"distance of the kernels from {MODEL}'s", "difference of the log times"
    caption = (
        "How much a cell's time differs against how far its kernels are, a point per activation "
        f"and rung; what is below {_LEAST:g} stands there."
    )
    return point_figure(groups, *names, caption)


def cell_kernels(settings: Mapping[str, Any]) -> tuple[Float[np.ndarray, "n"], ...]:
    """Return both kernels of a run's standardised features, in the wide limit.

    Args:
        settings: Of the run.

    Returns:
        The features' kernel, and the tangent kernel of the trunk at the rate that its weights have,
        over pairs of inputs of several correlations. Both are over the features' variance.
    """
    spec = spec_of(settings)
    found = network_kernels(spec, _CORRELATIONS)
    square = 0.0 if spec.signs else propagate(spec).m1[-1] ** 2
    variance = found.signal[-1] - square
    drawn = settings["sigma_w"] ** 2 / 2.0  # the rate that (66) takes, as multiple of the model's
    taken = settings["rate"] / drawn
    return (found.nngp[-1] - square) / variance, taken * found.tangent[-1] / variance


def distance(
    ours: Sequence[Float[np.ndarray, "n"]], theirs: Sequence[Float[np.ndarray, "n"]]
) -> float:
    """Return the root of the summed relative mean squares of the kernels' differences.

    Args:
        ours: Kernels.
        theirs: The reference's.
    """
    parts = [np.mean((a - b) ** 2) / np.mean(b**2) for a, b in zip(ours, theirs, strict=True)]
    return float(np.sqrt(np.sum(parts)))


def late(runs: Sequence[Run], name: str) -> Reading:
    """Return losses and test accuracies from early to late.

    Args:
        runs: Runs whose histories have a test accuracy.
        name: Of the study.
    """
    histories = {
        (r.config.settings["rung"], r.config.settings["activation"]): r.history()
        for r in runs
        if r.config.seed == 0
    }
    rows = [
        {"rung": rung, "activation": phi}
        | {
            f"{what} at {point['step']}": point[key]
            for what, key in (("loss", "loss"), ("test", "accuracy"))
            for point in history
            if point["step"] in _SHOWN
        }
        for (rung, phi), history in histories.items()
    ]
    last = {cell: history[-1]["accuracy"] for cell, history in histories.items()}
    ranges = {rung: _range(last, rung) for rung in (_HABIT, TOP)}
    number = ranges[TOP] / ranges[_HABIT] if ranges[_HABIT] else None
    images = runs[0].config.settings["test_limit"]
    found = Hypothesis(
        name, "After the last step the test accuracy varies over activations at the top at most "
        "half as much as at equal sigma_w (ratio of the ranges)",
        f"{len({phi for _, phi in last})} activations, {images} test images, one seed",
        number, high=0.5,
        remark=f"{ranges[TOP]:.3g} over {ranges[_HABIT]:.3g}; the standard error of one accuracy "
        f"is {max(_error(value, images) for value in last.values()):.2g}.",
    )  # fmt: skip
    shown = {cell: history for cell, history in histories.items() if cell[0] in (_HABIT, TOP)}
    drawn = [late_figure(shown, key) for key in _LATE]
    return Reading([found], [*drawn, Table(rows, "From early to late.")], {"late": rows})


def late_figure(
    histories: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]], key: str
) -> Figure:
    """Draw the test accuracy or the training loss against the step, a curve per cell.

    Args:
        histories: Records by rung and activation.
        key: "accuracy" or "loss".
    """
    curves = {
        f"{phi}, {rung}": [(p["step"], p[key]) for p in history if p["step"] and p[key] is not None]
        for (rung, phi), history in histories.items()
    }
    caption = f"{_LATE[key].capitalize()} from early to late, at equal sigma_w and at the top."
    scales = "log", "log" if key == "loss" else "linear"
    return line_figure(curves, "step", _LATE[key], caption, scales=scales)


def _rank_correlation(pairs: Float[np.ndarray, "n two"]) -> float:
    """Return Spearman's coefficient."""
    ranks = rankdata(pairs, axis=0)
    return float(np.corrcoef(ranks.T)[0, 1])


def _rate(run: Run) -> float:
    return run.config.settings["learning_rate"]


def _range(values: Mapping[tuple[str, str], float], rung: str) -> float:
    mine = [value for (where, _), value in values.items() if where == rung]
    return max(mine, default=0.0) - min(mine, default=0.0)


def _error(accuracy: float, images: int) -> float:
    return float(np.sqrt(accuracy * (1.0 - accuracy) / images))
