"""Learning speed against c at the top of the ladder: do all activations lie on one curve?"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from isometry.experiments.engine.runs import Run
from isometry.experiments.parts.claims import Hypothesis
from isometry.experiments.parts.tables import line_figure
from isometry.experiments.parts.training import steps_to
from isometry.report import Figure


def sweep_rows(runs: Sequence[Run], level: float) -> list[dict[str, Any]]:
    """Return the mean steps to a loss by activation and c.

    Args:
        runs: Runs of the top.
        level: The training loss.
    """
    groups: dict[tuple[str, float], list[Run]] = {}
    for run in runs:
        key = (run.config.settings["activation"], run.config.settings["value"])
        groups.setdefault(key, []).append(run)
    rows = []
    for (phi, c), members in sorted(groups.items()):
        reached = [steps_to(run.history(), level) for run in members]
        known = [t for t in reached if t is not None]
        rows.append({
            "activation": phi, "c": c,
            "steps": float(np.mean(known)) if len(known) == len(reached) else None,
            "diverged": sum(run.results["diverged_at"] is not None for run in members),
            "runs": len(members),
        })  # fmt: skip
    return rows


def curve_hypotheses(
    swept: Sequence[Mapping[str, Any]], steps: int, level: float, name: str
) -> list[Hypothesis]:
    """Return the claims that c alone sets the speed.

    Args:
        swept: What :func:`sweep_rows` returned.
        steps: Of a run.
        level: The training loss.
        name: Of the study.
    """
    cs = sorted({row["c"] for row in swept})
    at = {c: [row for row in swept if row["c"] == c] for c in cs}
    known = {
        c: [row["steps"] for row in rows]
        for c, rows in at.items()
        if len(rows) > 1 and all(row["steps"] is not None for row in rows)
    }
    spreads = {c: float(np.std(np.log(np.maximum(t, 1.0)), ddof=1)) for c, t in known.items()}
    mixed = [c for c, rows in at.items() if len({r["steps"] is None for r in rows}) > 1]
    best = {}
    for row in swept:
        if row["steps"] is not None:
            known_best = best.get(row["activation"])
            if known_best is None or row["steps"] < known_best[0]:
                best[row["activation"]] = (row["steps"], row["c"])
    places = {phi: c for phi, (_, c) in best.items()}
    shown = ", ".join(f"{phi} {c:g}" for phi, c in places.items())
    mixed_at = f"; some do and some do not at c in {mixed}" if mixed else ""
    tested = f"{len(at[cs[0]])} activations, c from {cs[0]:g} to {cs[-1]:g}, loss {level:g}"
    return [
        Hypothesis(
            name, "At the top of the ladder all activations lie on one curve of c (largest "
            "standard deviation of the log time at any c)", tested,
            max(spreads.values(), default=None), high=0.1,
            remark="; ".join(f"c = {c:g}: {s:.3g}" for c, s in spreads.items()) + ".",
        ),
        Hypothesis(
            name, "There they reach a loss or do not reach it together (number of c at which some "
            "do and some do not)", tested, float(len(mixed)), high=1.0,
            remark=f"At most {steps} steps{mixed_at}.",
        ),
        Hypothesis(
            name, "There the best c is the same for all (largest over smallest, within one step of "
            "the sweep)", tested, _apart(places, cs),
            high=max(b / a for a, b in pairwise(cs)) * (1 + 1e-9), remark=f"Best c: {shown}.",
        ),
    ]  # fmt: skip


def _apart(best: Mapping[str, float], cs: Sequence[float]) -> float | None:
    """Return the largest over the smallest best c; None where there is nothing to differ."""
    if len(best) < 2 or len(cs) < 2:
        return None
    return max(best.values()) / min(best.values())


def sweep_figure(swept: Sequence[Mapping[str, Any]], level: float) -> Figure:
    """Draw the steps to a loss against c, a curve per activation.

    Args:
        swept: What :func:`sweep_rows` returned.
        level: The training loss.
    """
    curves = {
        phi: [(r["c"], r["steps"]) for r in swept if r["activation"] == phi and r["steps"]]
        for phi in sorted({row["activation"] for row in swept})
    }
    caption = "Learning speed against c at the top of the ladder (missing: not reached)."
    return line_figure(curves, "c", f"steps to loss {level:g}", caption)
