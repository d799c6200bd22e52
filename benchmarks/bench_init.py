"""Initialisation rules by one measurement: every model family under every rule.

Measured at samples that the rule has not seen, in float64, as medians over the seeds: c (sum over
blocks), the condition number of the bulk (99 % over 1 % quantile of the trunk's singular values),
the largest singular value over the law's edge, the distance to the law, the growth of the stream
m2_L / m2_0; then the mean training loss after a small budget. Prints JSON, then a markdown table.
Cells are kept in a file as they are finished, so that an interrupted run goes on; after a change
of the code choose another file. The packages lsuv and anyinit are installed into a temporary
folder, without what they depend on.

    python benchmarks/bench_init.py [--quick] [--peers] [--table docs/initialisation.md]
"""

import copy
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from _cells import Key, Row, include, time_taken
from _common import machine, show
from _init_families import FAMILIES, Family, seeded
from _init_rules import PEER_RULES, RULES, measure_all, parser
from isometry import nn as inn
from isometry._result import format_table
from isometry.nn.blocks.blocks import residual_stream
from isometry.nn.blocks.operator import SegmentOperator
from isometry.theory.comparison import compare

STEPS, RATE, SAMPLES = 200, 1e-3, 256
RTOL = 0.01  # accepted standard error of c
FRESH = 1000  # seeds of samples that no rule has seen start here
MEASURED = ("c", "condition", "outlier", "ks", "m2_L/m2_0")


def measured(family: Family, model: nn.Module, seed: int) -> Row:
    """Measure a model at fresh samples: c of a batch, the spectrum of one sample."""
    exact, x = copy.deepcopy(model).double(), family.batch(FRESH + seed).double()
    stream = residual_stream(exact, x, **family.options)
    traces = inn.block_traces(stream.blocks, rtol=RTOL, generator=seeded(seed))
    c = max(math.fsum(t.c for t in traces), 0.0)
    row = {"c": c, "m2_L/m2_0": growth(family, exact, x)}
    if len(stream.stages) > 1:
        return row | {"remark": f"{len(stream.stages)} stages, other layers between: no one law"}
    if not any(t.v for t in traces):
        return row | {"condition": 1.0, "remark": "branches start at 0: J is the identity"}
    return row | spectrum(exact, x[:1])


def spectrum(model: nn.Module, x: Tensor) -> Row:
    """Compare all singular values of the trunk at one sample with the law of its blocks there."""
    stream = residual_stream(model, x)
    traces = inn.block_traces(stream.blocks, rtol=RTOL, generator=seeded(FRESH))
    law = inn.measured_law(traces).law
    found = inn.singular_spectrum(SegmentOperator(stream.trunk), "dense")
    low, high = np.sqrt(found.icdf([0.01, 0.99]))
    return {
        "condition": float(high / low) if low > 0 else math.inf,
        "outlier": float(np.sqrt(found.values[-1] / law.support()[1])),
        "ks": compare(found, law).ks,
    }


def growth(family: Family, model: nn.Module, x: Tensor) -> float:
    """Return m2_L / m2_0 of the residual stream, a product over its stages."""
    squares: dict[tuple[int, str], float] = {}

    def note(place: tuple[int, str], value: object) -> None:
        tensor = value[0] if isinstance(value, tuple) else value
        squares[place] = float(tensor.square().mean())

    model = copy.deepcopy(model).train()  # batch statistics; no family has dropout
    modules = dict(model.named_modules())
    for stage, (first, last) in enumerate(family.stages):
        modules[first].register_forward_pre_hook(lambda _m, x, s=stage: note((s, "in"), x))
        modules[last].register_forward_hook(lambda _m, _x, y, s=stage: note((s, "out"), y))
    with torch.no_grad():
        model(x)
    return math.prod(
        squares[stage, "out"] / squares[stage, "in"] for stage in range(len(family.stages))
    )


def training_loss(
    model: nn.Module,
    shape: tuple[int, ...],
    seed: int,
    steps: int,
    groups: Sequence[dict[str, Any]] | None = None,
) -> float:
    """Fit a fixed random teacher with a linear head; return the mean loss of the last tenth.

    Without ``groups`` all parameters learn at one rate; the head always learns at it.
    """
    source = seeded(100 + seed)
    data = torch.randn(SAMPLES, *shape[1:], generator=source)
    labels = (data.flatten(1) @ torch.randn(data[0].numel(), 4, generator=source)).argmax(1)
    with torch.no_grad():
        features = model(data[:2]).flatten(1).shape[1]
    head = torch.zeros(4, features).requires_grad_()
    learners = groups if groups is not None else [{"params": list(model.parameters())}]
    optimiser = torch.optim.Adam([*learners, {"params": [head]}], lr=RATE, fused=True)
    model.train()
    losses = []
    for _ in range(steps):
        batch = torch.randint(SAMPLES, (16,), generator=source)
        scores = model(data[batch]).flatten(1) @ head.T / math.sqrt(features)
        loss = nn.functional.cross_entropy(scores, labels[batch])
        if not torch.isfinite(loss):
            return math.inf
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses[-max(steps // 10, 1) :]))


def measure(key: Key) -> Row:
    """Return one cell: a family under a rule, over all seeds."""
    family, rule = FAMILIES[key["family"]], RULES[key["rule"]]
    found, times = [], dict.fromkeys(("rule s", "measure s", "train s"), 0.0)
    for seed in range(key["seeds"]):
        model, clock = family.build(seed), [time.perf_counter()]
        try:
            rule(model, family.batch(seed), seed, family.options)
            clock.append(time.perf_counter())
            row = measured(family, model, seed)
        except (ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            return {"remark": str(error).split(";")[0].split("\n")[0][:120]}
        clock.append(time.perf_counter())
        row["loss"] = training_loss(model, family.shape, seed, key["steps"])
        clock.append(time.perf_counter())
        spent = np.diff(clock).tolist()
        times = {k: round(times[k] + s, 2) for k, s in zip(times, spent, strict=True)}
        found.append(row)
    return summary(found) | times


def summary(found: list[Row]) -> Row:
    """Return medians of what was measured, and the mean and deviation of the losses."""
    row: Row = {}
    for name in MEASURED:
        values = [one[name] for one in found if one.get(name) is not None]
        if values and np.isfinite(np.median(values)):
            row[name] = float(np.median(values))
    losses = np.array([one["loss"] for one in found])
    remarks = [found[0]["remark"]] if "remark" in found[0] else []
    if "ks" in row and "condition" not in row:
        remarks.append("the smallest values are lost in the rounding of float64")
    if np.isfinite(losses).all():
        row |= {"loss": float(losses.mean()), "loss sd": float(losses.std())}
    else:
        remarks.append(f"training diverges for {np.isinf(losses).sum()} of {len(losses)} seeds")
    return row | ({"remark": "; ".join(remarks)} if remarks else {})


def table(rows: list[Row]) -> str:
    keys = ("family", "rule", *MEASURED, "loss", "loss sd")
    shown = [{k: row.get(k) for k in keys} | {"remark": row.get("remark", "")} for row in rows]
    return format_table(shown, markdown=True)


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, "runs/bench_init.jsonl")
    options.add_argument("--quick", action="store_true", help="two families, a few steps")
    options.add_argument("--steps", type=int, default=STEPS, help="training steps")
    wish = options.parse_args(arguments)
    families = list(FAMILIES)[:2] if wish.quick else list(FAMILIES)
    budget = {"seeds": 1, "steps": 5} if wish.quick else {"seeds": wish.seeds, "steps": wish.steps}
    names = [name for name in RULES if wish.peers or name not in PEER_RULES]
    keys = [{"family": family, "rule": name, **budget} for family in families for name in names]
    rows = measure_all(keys, measure, wish)
    show({"benchmark": "init", "machine": machine(), **time_taken(rows), "rows": rows})
    print(table(rows))
    if wish.table:
        include(wish.table, Path(__file__).name, table(rows))


if __name__ == "__main__":
    main()
