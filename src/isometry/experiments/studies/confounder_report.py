"""What the runs of the studies training and convolution say: spreads, curves, and the best c."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from isometry.experiments.engine.runs import Run
from isometry.experiments.parts.claims import Findings, Hypothesis, Reading
from isometry.experiments.parts.rungs import SCHEMES
from isometry.experiments.parts.training import steps_to
from isometry.experiments.studies.confounder_checks import (
    ENOUGH,
    chosen_level,
    correlation,
    ratio,
    ratios_by_level,
    shared_sigma_ws,
    times_of_schemes,
)
from isometry.experiments.studies.confounder_figures import (
    MOST,
    loss_figure,
    ratio_figure,
    reach_figure,
    sweep_figure,
    time_figure,
)
from isometry.experiments.studies.confounder_times import bootstrap, log_spread, times
from isometry.report import Paragraph, Table

_SPREAD = (
    "At equal c the time to a training loss varies over activations less than half as much as at "
    "{other} (ratio of the standard deviations of its logarithm)"
)


def summarise(runs: Sequence[Run], *, levels: Sequence[float], c: float, name: str) -> Findings:
    """Turn training runs into hypotheses, tables and figures.

    Args:
        runs: Finished runs of one architecture.
        levels: Training losses; the time is measured to the lowest that enough runs reach.
        c: The common c.
        name: Of the study.
    """
    settings = runs[0].config.settings
    three = [run for run in runs if run.config.settings["value"] == (c if _at_c(run) else 1.0)]
    common = set.intersection(*(set(times(three, s, levels[0])) for s in SCHEMES))
    by_level = ratios_by_level(three, common, levels, settings["steps"])
    level = chosen_level(by_level)
    schemes = times_of_schemes(three, common, level)
    rows = [_row(phi, schemes, three) for phi in sorted(common)]
    shared = shared_sigma_ws(runs, schemes["equal c"], level)
    spreads = [
        _spread(scheme, table, settings["steps"]) for scheme, table in (schemes | shared).items()
    ]
    swept = _sweep_rows([run for run in runs if _at_c(run)], level)
    spread = [
        _spread_hypothesis(schemes | shared, other, settings["steps"], level, name)
        for other in ("equal sigma_w", "He", *shared)
    ]
    curves = [loss_figure(three, scheme, common) for scheme in SCHEMES]
    tables = _tables(spreads, by_level, rows, level)
    about = Paragraph(_conditions(settings, level))
    readings = [
        Reading(
            spread,
            [time_figure(rows, level), ratio_figure(by_level), about, *tables],
            {"spread": spreads, "levels": by_level, "times": rows},
        ),
        Reading(
            [_reach_hypothesis(schemes, settings["steps"], level, name)],
            [reach_figure(by_level), *curves],
        ),
    ]
    best, shown = [], []
    if len({row["c"] for row in swept}) > 1:
        best = _best_hypotheses(swept, settings["steps"], name)
        shown = [sweep_figure(swept, level), Table(swept, "Learning speed against c.")]
    readings.append(Reading(best, shown, {"sweep": swept}))
    return Findings(f"{name.capitalize()}: initialisation and speed", readings)


def _tables(
    spreads: list[dict[str, Any]],
    by_level: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    level: float,
) -> list[Table]:
    return [
        Table(spreads, "Spread over activations; steps not reached count as the last step."),
        Table(
            by_level,
            "The ratio of the spreads, equal c over the other, at other training losses, and the "
            "fraction of the runs that reach them (no ratio where half of them do not).",
        ),
        Table(rows, f"Mean steps to a training loss of {level:g} (- : not reached by any seed)."),
    ]


def _at_c(run: Run) -> bool:
    return run.config.settings["scheme"] == "equal c"


def _row(phi: str, schemes: dict[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    row: dict[str, Any] = {"activation": phi}
    for scheme, table in schemes.items():
        reached = [t for t in table[phi].values() if t is not None]
        row[scheme] = float(np.mean(reached)) if reached else None
        here = [
            run.results
            for run in runs
            if (run.config.settings["scheme"], run.config.settings["activation"]) == (scheme, phi)
        ]
        row[f"c ({scheme})"] = here[0]["c"]
        row[f"diverged ({scheme})"] = sum(r["diverged_at"] is not None for r in here)
    return row


def _spread(scheme: str, table: dict[str, Any], steps: int) -> dict[str, Any]:
    every = [t for row in table.values() for t in row.values()]
    means = [
        np.mean([t if t is not None else steps for t in row.values()]) for row in table.values()
    ]
    return {
        "scheme": scheme,
        "activations": len(table),
        "runs": len(every),
        "not reached": sum(t is None for t in every),
        "sd of log time": log_spread(table, censored=steps) if len(table) > 1 else None,
        "max/min": float(max(means) / max(min(means), 1.0)),
    }


def _spread_hypothesis(
    schemes: dict[str, Any], other: str, steps: int, level: float, name: str
) -> Hypothesis:
    ours, theirs = schemes["equal c"], schemes[other]
    tested = f"{len(ours)} activations, training loss {level:g}, at most {steps} steps"
    claim = _SPREAD.format(other=other)
    if len(ours) < 2:
        return Hypothesis(
            name, claim, tested, None, high=MOST, remark="Fewer than two activations."
        )
    interval = "one seed, hence no interval"
    if max(map(len, ours.values())) > 1:
        low, high = bootstrap(ours, theirs, censored=steps, rng=np.random.default_rng(0))
        interval = f"95 % interval over seeds {low:.3g} .. {high:.3g}"
    missed = [sum(t is None for r in s.values() for t in r.values()) for s in (ours, theirs)]
    remark = (
        f"{interval}; not reached: {missed[0]} runs at equal c, {missed[1]} at {other}."
        f"{_without_the_slowest(ours, theirs, steps)}"
    )
    kept = correlation(ours, theirs, steps)
    if kept is not None:
        remark += f" Between the two schemes the activations' log times correlate at {kept:.3g}."
    number = ratio(ours, theirs, steps)
    if missed[1] > (1 - ENOUGH) * sum(map(len, theirs.values())):
        remark += (
            f" Too many are not reached at {other} for its spread to be known: {number:.3g} is "
            "what the ratio would be if they had just been missed."
        )
        number = None
    return Hypothesis(name, claim, tested, number, high=MOST, remark=remark)


def _reach_hypothesis(schemes: dict[str, Any], steps: int, level: float, name: str) -> Hypothesis:
    reached = {
        scheme: float(np.mean([t is not None for row in table.values() for t in row.values()]))
        for scheme, table in schemes.items()
    }
    return Hypothesis(
        name,
        "More runs reach the training loss at equal c than at He (difference of the fractions)",
        f"{len(schemes['He'])} activations, training loss {level:g}, at most {steps} steps",
        reached["equal c"] - reached["He"],
        low=0.1,
        remark=f"{reached['equal c']:.3g} at equal c, {reached['He']:.3g} at He.",
    )


def _without_the_slowest(ours: dict[str, Any], theirs: dict[str, Any], steps: int) -> str:
    """Say how much of the ratio is due to the two activations that are slowest at equal c."""
    mean = {
        phi: np.mean([t if t is not None else steps for t in row.values()])
        for phi, row in ours.items()
    }
    slow = sorted(mean, key=lambda phi: mean[phi])[-2:]
    if len(ours) < 5:
        return ""
    left = [{k: v for k, v in table.items() if k not in slow} for table in (ours, theirs)]
    return (
        f" Without the two slowest at equal c ({', '.join(slow)}) the ratio is "
        f"{ratio(left[0], left[1], steps):.3g}."
    )


def _sweep_rows(runs: Sequence[Run], level: float) -> list[dict[str, Any]]:
    groups: dict[tuple[str, float], list[Run]] = {}
    for run in runs:
        key = (run.config.settings["activation"], run.config.settings["value"])
        groups.setdefault(key, []).append(run)
    swept = {phi for phi, _ in groups if sum(other == phi for other, _ in groups) > 1}
    rows = []
    for (phi, c), members in sorted(groups.items()):
        if phi not in swept:
            continue
        reached = [steps_to(run.history(), level) for run in members]
        known = [t for t in reached if t is not None]
        last = [run.results["last_loss"] for run in members]
        rows.append(
            {
                "activation": phi,
                "c": c,
                "steps": float(np.mean(known)) if len(known) == len(reached) else None,
                "last loss": None if None in last else float(np.mean(last)),
                "diverged": sum(value is None for value in last),
                "runs": len(members),
            }
        )
    return rows


def _best_hypotheses(swept: list[dict[str, Any]], steps: int, name: str) -> list[Hypothesis]:
    cs = sorted({row["c"] for row in swept})
    best = {}
    for phi in sorted({row["activation"] for row in swept}):
        mine = [r for r in swept if r["activation"] == phi and r["steps"] is not None]
        if mine:
            best[phi] = min(mine, key=lambda row: row["steps"])
    places = {phi: row["c"] for phi, row in best.items()}
    tested = f"c in {cs}; best c: " + ", ".join(f"{phi} {c:g}" for phi, c in places.items())
    stepped = max(b / a for a, b in pairwise(cs))
    diverged = sorted({row["c"] for row in swept if row["diverged"]})
    return [
        Hypothesis(
            name,
            "The c at which learning is fastest does not depend on the activation (largest over "
            "smallest best c, within one step of the sweep)",
            tested,
            max(places.values()) / min(places.values()) if len(places) > 1 else None,
            high=stepped * (1 + 1e-9),
        ),
        Hypothesis(
            name,
            "Learning is fastest at a c inside the sweep (fraction of the activations)",
            tested,
            float(np.mean([cs[0] < c < cs[-1] for c in places.values()])) if places else None,
            low=1.0,
            remark=f"Some run diverged at c in {diverged}." if diverged else "No run diverged.",
        ),
        _far_hypothesis(swept, best, steps, name, tested),
    ]


def _far_hypothesis(
    swept: list[dict[str, Any]], best: dict[str, Any], steps: int, name: str, tested: str
) -> Hypothesis:
    far = max(row["c"] for row in swept)
    slowed = [
        (row["steps"] or steps) / best[row["activation"]]["steps"]
        for row in swept
        if row["c"] == far and row["activation"] in best
    ]
    return Hypothesis(
        name,
        f"Far from isometry, at c = {far:g}, learning is slower than at the best c (smallest "
        "ratio of the times)",
        tested,
        min(slowed, default=None),
        low=1.5,
        remark=f"A time that is not reached counts as {steps} steps, a lower bound.",
    )


def _conditions(settings: Any, level: float) -> str:
    kind = f"{settings['side']} x {settings['side']} pixels" if settings["side"] else "all entries"
    return (
        f"Our own settings: {settings['images']}, {settings['limit']} training images; width "
        f"{settings['width']} ({kind}), depth {settings['depth']}; plain SGD, batch "
        f"{settings['batch']}, {settings['steps']} steps; time to a training loss of {level:g} on "
        f"512 fixed images. The learning rate, {settings['learning_rate']:g}, was chosen once for "
        f"all in a pilot with one seed; the loss is the lowest one below that {ENOUGH:.0%} of the "
        "runs of every scheme reach, or the highest one. (This rule was set after the runs "
        "of the full profile had been seen: the loss fixed before them for the fully connected "
        "network, 2.0, was missed by more.) The readout sees standardised features and starts at 0."
    )
