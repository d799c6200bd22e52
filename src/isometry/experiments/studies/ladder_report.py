"""What the runs of the ladder say: the spread at every rung, and what further readings add."""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from statistics import mode
from typing import Any

import numpy as np

from isometry.experiments.engine.runs import Run
from isometry.experiments.parts.claims import Findings, Hypothesis, Reading
from isometry.experiments.parts.rungs import RUNGS, TOP
from isometry.experiments.parts.tables import line_figure, or_nan
from isometry.experiments.studies.confounder_checks import ENOUGH, Times
from isometry.experiments.studies.confounder_times import bootstrap, log_spread, times
from isometry.experiments.studies.ladder_curve import (
    curve_hypotheses,
    sweep_figure,
    sweep_rows,
)
from isometry.experiments.studies.ladder_readings import (
    best_rates,
    kernels,
    late,
    losses,
)
from isometry.report import Figure, Paragraph, Table

_HABIT, _STEPS, _LINEAR = RUNGS[0], RUNGS[4], RUNGS[5]


def summarise(
    runs: Sequence[Run], *, levels: Sequence[float], name: str, predicted: bool = False
) -> Findings:
    """Turn runs into hypotheses, tables and figures.

    Args:
        runs: Finished runs of one architecture.
        levels: Training losses, the highest first.
        name: Of the study.
        predicted: Whether to ask if kernels predict the times, a minute for ten activations.
    """
    rate = mode(run.config.settings["learning_rate"] for run in runs)
    readout = mode(run.config.settings["readout"] for run in runs)
    settings = runs[0].config.settings
    steps = settings["steps"]
    every_rate = [run for run in runs if run.config.settings["readout"] == readout]
    mine = [run for run in every_rate if run.config.settings["learning_rate"] == rate]
    at_one = [run for run in mine if run.config.settings["value"] == 1.0]
    level = _level(at_one, levels)
    swept = sweep_rows([r for r in mine if r.config.settings["rung"] == TOP], level)
    readings = [_ladder(at_one, levels, level, name), losses(at_one)]
    if len({row["c"] for row in swept}) > 1:
        shown = [sweep_figure(swept, level), Table(swept, "Learning speed against c, at the top.")]
        claims = curve_hypotheses(swept, steps, level, name)
        readings.insert(1, Reading(claims, shown, {"sweep": swept}))
    if len({run.config.settings["learning_rate"] for run in runs}) > 1:
        others = [r for r in every_rate if r.config.settings["value"] == 1.0]
        readings.append(best_rates(others, level, steps, name))
    if predicted:
        readings.append(kernels(at_one, level, steps, name))
    if settings.get("test_limit"):
        readings.append(late(at_one, name))
    for other in sorted({r.config.settings["readout"] for r in runs} - {readout}):
        theirs = [r for r in runs if r.config.settings["readout"] == other]
        readings.append(_other_readout(theirs, levels, level, f"{name}, {other} readout"))
    return Findings(f"The {name}: what must be equal before activations learn alike", readings)


def _ladder(runs: Sequence[Run], levels: Sequence[float], level: float, name: str) -> Reading:
    """Return the times and spreads at every rung."""
    settings = runs[0].config.settings
    steps = settings["steps"]
    rungs = ladder_times(runs, level)
    table = [{"rung": rung} | row for rung, row in _rows(rungs, steps).items()]
    by_level = _by_level(runs, levels, steps)
    hypotheses = [
        _top_hypothesis(rungs, steps, level, name),
        *_rung_hypotheses(rungs, steps, level, name),
        *(_parity_hypothesis(rungs, steps, level, name) for _ in range(_LINEAR in rungs)),
    ]
    caption = (
        f"Steps to a loss of {level:g}; the spread is the standard deviation over activations of "
        f"the log time (not reached: the last; -: fewer than {ENOUGH:.0%} of the runs reach it)."
    )
    blocks = [
        ladder_figure(table, level),
        level_figure(by_level),
        Paragraph(_conditions(settings, level)),
        Table(table, caption),
        Table(
            by_level,
            "The spread at every rung, from early to late losses (-: too few runs reach it).",
        ),
    ]
    return Reading(hypotheses, blocks, {"times": table, "levels": by_level})


def _other_readout(
    runs: Sequence[Run], levels: Sequence[float], level: float, name: str
) -> Reading:
    """Return the same times and spreads with another readout."""
    steps = runs[0].config.settings["steps"]
    rows = _by_level(runs, levels, steps)
    claim = _top_hypothesis(ladder_times(runs, level), steps, level, name)
    blocks = [level_figure(rows, f"The {name}: the spread"), Table(rows, f"The {name}.")]
    return Reading([claim], blocks, {f"levels of the {name}": rows})


def ladder_times(
    runs: Sequence[Run], level: float
) -> dict[str, dict[str, dict[int, float | None]]]:
    """Return the steps to a loss by rung, activation and seed, from the lowest rung on.

    Args:
        runs: Runs at c = 1.
        level: The training loss.
    """
    known = [rung for rung in RUNGS if any(r.config.settings["rung"] == rung for r in runs)]
    return {rung: times(runs, rung, level, key="rung") for rung in known}


def ladder_figure(table: Sequence[Mapping[str, Any]], level: float) -> Figure:
    """Draw the steps to a loss at every rung, a curve per activation.

    Args:
        table: A row per rung, with "rung", "spread" and the mean steps by activation.
        level: The training loss.
    """
    curves = {
        phi: [(place, or_nan(row[phi])) for place, row in enumerate(table)]
        for phi in table[0]
        if phi not in ("rung", "spread")
    }
    rungs = [row["rung"] for row in table]
    caption = "The ladder: steps to the loss per activation and rung (missing: not reached)."
    return line_figure(
        curves, "", f"steps to loss {level:g}", caption, scales=("linear", "log"), ticks=rungs
    )


def level_figure(rows: Sequence[Mapping[str, Any]], what: str = "The spread") -> Figure:
    """Draw the spread from early to late losses, a curve per rung.

    Args:
        rows: A row per loss, with "training loss" and the spread by rung.
        what: How the caption begins.
    """
    curves = {
        rung: [(place, or_nan(row[rung])) for place, row in enumerate(rows)]
        for rung in RUNGS
        if rung in rows[0]
    }
    ticks = [f"{row['training loss']:g}" for row in rows]
    caption = f"{what} at every rung, from early to late losses (missing: too few runs reach it)."
    return line_figure(
        curves, "training loss", "sd of the log time", caption,
        scales=("linear", "log"), ticks=ticks,
    )  # fmt: skip


def _mean_time(reached: Collection[float | None]) -> float:
    """Return the mean of the times to a loss; NaN where none reached it."""
    known = [t for t in reached if t is not None]
    return float(np.mean(known)) if known else math.nan


def _level(runs: Sequence[Run], levels: Sequence[float]) -> float:
    """Return the lowest loss that enough runs of the top and of the habit reach, or the highest."""

    def enough(rung: str, level: float) -> bool:
        found = [t for row in times(runs, rung, level, key="rung").values() for t in row.values()]
        return not found or float(np.mean([t is not None for t in found])) >= ENOUGH

    good = [level for level in levels if enough(_HABIT, level) and enough(TOP, level)]
    return min(good, default=max(levels))


def _common(tables: Collection[Times]) -> list[str]:
    return sorted(set.intersection(*(set(table) for table in tables)))


def _part(table: Times, names: Collection[str]) -> Times:
    return {phi: row for phi, row in table.items() if phi in names}


def _spread(table: Times, steps: int) -> float | None:
    """Return the spread, or None where it says nothing: too few runs reach the loss."""
    reached = [t is not None for row in table.values() for t in row.values()]
    known = len(table) > 1 and float(np.mean(reached)) >= ENOUGH
    return log_spread(table, censored=steps) if known else None


def _spreads(runs: Sequence[Run], level: float, steps: int) -> dict[str, Any]:
    tables = ladder_times(runs, level)
    every = [t for table in tables.values() for row in table.values() for t in row.values()]
    return (
        {"training loss": level}
        | {rung: _spread(table, steps) for rung, table in tables.items()}
        | {"not reached": sum(t is None for t in every)}
    )


def _by_level(runs: Sequence[Run], levels: Sequence[float], steps: int) -> list[dict[str, Any]]:
    """Return a row per loss that enough runs of some rung reach; the first one in any case."""
    rows = [_spreads(runs, each, steps) for each in levels]
    known = [row for row in rows if any(row.get(rung) is not None for rung in RUNGS)]
    return known or rows[:1]


def _rows(rungs: Mapping[str, Times], steps: int) -> dict[str, dict[str, Any]]:
    every = sorted({phi for table in rungs.values() for phi in table})
    rows: dict[str, dict[str, Any]] = {}
    for rung, table in rungs.items():
        rows[rung] = {"spread": _spread(table, steps)}
        for phi in every:
            mean = _mean_time(table.get(phi, {}).values())
            rows[rung][phi] = None if math.isnan(mean) else mean
    return rows


def _top_hypothesis(rungs: Mapping[str, Times], steps: int, level: float, name: str) -> Hypothesis:
    claim = (
        "At the top of the ladder the time to a training loss varies over activations at most a "
        "tenth as much as at equal sigma_w (ratio of the standard deviations of its logarithm)"
    )
    tables = [rungs[rung] for rung in (TOP, _HABIT) if rung in rungs]
    names = _common(tables)
    tested = f"{len(names)} activations, loss {level:g}, at most {steps} steps"
    if len(tables) < 2 or len(names) < 2:
        return Hypothesis(name, claim, tested, None, high=0.1)
    ours, theirs = (_part(table, names) for table in tables)
    missed = [sum(t is None for r in x.values() for t in r.values()) for x in (ours, theirs)]
    spreads = [log_spread(table, censored=steps) for table in (ours, theirs)]
    number = spreads[0] / spreads[1] if spreads[1] else None
    interval = "one seed, hence no interval"
    if max(map(len, ours.values())) > 1:
        low, high = bootstrap(ours, theirs, censored=steps, rng=np.random.default_rng(0))
        interval = f"95 % interval over seeds {low:.3g} .. {high:.3g}"
        if number is not None and number < low:
            interval += " (above the number: seeds drawn again add their scatter to the spread)"
    remark = (
        f"{spreads[0]:.3g} over {spreads[1]:.3g}; {interval}; not reached, hence counted as the "
        f"last step: {missed[0]} runs at the top, {missed[1]} at equal sigma_w."
    )
    return Hypothesis(name, claim, tested, number, high=0.1, remark=remark)


def _rung_hypotheses(
    rungs: Mapping[str, Times], steps: int, level: float, name: str
) -> list[Hypothesis]:
    """Return the claims that every rung from the common c on takes its part of the spread."""
    found = []
    for lower, upper in pairwise([rung for rung in RUNGS[2:] if rung in rungs]):
        names = _common([rungs[lower], rungs[upper]])
        claim = f"The rung '{upper}' narrows the spread (ratio to '{lower}')"
        tested = f"{len(names)} activations, loss {level:g}, at most {steps} steps"
        number = None
        if len(names) > 1:
            above, below = (_spread(_part(rungs[r], names), steps) for r in (upper, lower))
            number = above / below if below and above is not None else None
        found.append(Hypothesis(name, claim, tested, number, high=1.0))
    return found


def _parity_hypothesis(
    rungs: Mapping[str, Times], steps: int, level: float, name: str
) -> Hypothesis:
    """Return the claim that odd activations without a shift are a group of their own."""
    claim = (
        "With the linear share alone odd activations are slower than the others (difference of the "
        "mean log times)"
    )
    table = rungs.get(_LINEAR, {})
    odd = [phi for phi in table if phi in ("tanh", "hardtanh", "sigmoid", "erf", "softsign")]
    logs = {
        phi: float(np.mean([np.log(steps if t is None else max(t, 1.0)) for t in row.values()]))
        for phi, row in table.items()
    }
    rest = [phi for phi in table if phi not in odd]
    number = None
    if odd and rest:
        number = float(np.mean([logs[p] for p in odd]) - np.mean([logs[p] for p in rest]))
    tested = f"{', '.join(odd)} against {', '.join(rest)}, loss {level:g}"
    return Hypothesis(name, claim, tested, number, low=0.1)


def _conditions(settings: Mapping[str, Any], level: float) -> str:
    kind = f"{settings['side']} x {settings['side']} pixels" if settings["side"] else "all entries"
    return (
        f"Our own settings: {settings['images']}, {settings['limit']} training images; width "
        f"{settings['width']} ({kind}), depth {settings['depth']}; plain SGD, batch "
        f"{settings['batch']}, {settings['steps']} steps; time to a training loss of {level:g} on "
        f"512 fixed images, the lowest one that {ENOUGH:.0%} of the runs at equal sigma_w and at "
        f"the top reach. The learning rate, {settings['learning_rate']:g}, is that of the earlier "
        f"study; from '{_STEPS}' on the trunk learns at it times Var W over ReLU's at c = 1."
    )
