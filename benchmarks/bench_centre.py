"""Outside the paper's network: what do a removed mean and equal steps buy?

Five families of bench_init, each with torch's draw of its width inside: as it is, at c = 1, with
the mean removed, with rates in proportion to the drawn standard deviation (Adam), with both. Every
way of starting takes the best of a grid of base rates, a factor of about three apart, by the mean
loss over the seeds. Rates that differ between maps are scaled so that their mean over all entries
is the base rate. Prints JSON, then a markdown table; finished cells are kept, as by bench_init.

    python benchmarks/bench_centre.py [--quick] [--table docs/initialisation.md]
"""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from _cells import Key, Row, include, time_taken
from _common import machine, show
from _init_families import FAMILIES, Family, seeded
from _init_rules import measure_all, parser
from bench_init import STEPS, training_loss
from isometry import nn as inn
from isometry._result import format_table
from isometry.nn.init import baselines

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
CHOSEN = ("residual perceptron", "convolutional", "GPT-2", "ViT", "ResNet")
WAYS = {
    "torch's draw": (False, False, False),
    "c = 1": (True, False, False),
    "c = 1, rates": (True, False, True),
    "c = 1, mean removed": (True, True, False),
    "c = 1, mean removed, rates": (True, True, True),
}
"""Of every way whether c is set, the mean removed, the rates by map."""


def started(family: Family, way: str, seed: int) -> tuple[nn.Module, int, int]:
    """Return a model under a way of starting, and how many of its blocks lost their mean."""
    sized, centre, _ = WAYS[way]
    model, x = family.build(seed), family.batch(seed)
    inn.apply_(model, baselines.torch_default(model, x, generator=seeded(seed), **family.options))
    if not sized:
        return model, 0, 0
    plan = inn.plan(model, x, c=1.0, centre=centre, generator=seeded(seed), **family.options)
    inn.apply_(model, plan)
    removed = sum(block.bias is not None for block in plan.centred) if centre else 0
    return model, removed, len(plan.centred) if centre else 0


def groups(model: nn.Module, way: str, rate: float) -> list[dict[str, Any]]:
    """Return the parameter groups of a way, whose mean rate over all entries is ``rate``."""
    if not WAYS[way][2]:
        return [{"params": list(model.parameters()), "lr": rate}]
    made = inn.learning_rates(model, 1.0, optimiser="adam")
    sizes = np.array([group["params"][0].numel() for group in made])
    scale = rate / float(np.average([group["lr"] for group in made], weights=sizes))
    return [{"params": group["params"], "lr": scale * group["lr"]} for group in made]


def measure(key: Key) -> Row:
    """Return one cell: a family under a way of starting, at the best rate, over all seeds."""
    family, way = FAMILIES[key["family"]], key["way"]
    table: dict[float, list[float]] = {rate: [] for rate in RATES[: key["rates"]]}
    for seed in range(key["seeds"]):
        try:
            start, removed, blocks = started(family, way, seed)
        except (ValueError, NotImplementedError) as error:
            return {"remark": str(error).split(";")[0][:120]}
        for rate, losses in table.items():
            model = copy.deepcopy(start)
            chosen = groups(model, way, rate)
            losses.append(training_loss(model, family.shape, seed, key["steps"], chosen))
    best = min(table, key=lambda rate: float(np.mean(table[rate])))
    found = np.array(table[best])
    if not np.isfinite(found).all():
        return {"remark": "diverges at every rate"}
    ends = " (end of the grid)" if best in (min(table), max(table)) and len(table) > 1 else ""
    remark = f"mean removed in {removed} of {blocks} blocks" if WAYS[way][1] else ""
    error = float(found.std(ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else None
    return {
        "best rate": f"{best:g}{ends}",
        "loss": float(found.mean()),
        "standard error": error,
        "remark": remark,
    }


def table(rows: list[Row]) -> str:
    """Return the table of the page."""
    keys = ("family", "way", "best rate", "loss", "standard error", "remark")
    return format_table([{k: row.get(k) for k in keys} for row in rows], markdown=True)


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing and print it."""
    options = parser(__doc__, "runs/bench_centre.jsonl")
    options.add_argument("--quick", action="store_true", help="one family, a few steps")
    wish = options.parse_args(arguments)
    families = CHOSEN[: 1 if wish.quick else None]
    budget = {"seeds": wish.seeds, "steps": STEPS, "rates": len(RATES)}
    if wish.quick:
        budget = {"seeds": 1, "steps": 5, "rates": 1}
    keys = [{"family": family, "way": way, **budget} for family in families for way in WAYS]
    rows = measure_all(keys, measure, wish)
    show({"benchmark": "centre", "machine": machine(), **time_taken(rows), "rows": rows})
    print(table(rows))
    if wish.table:
        include(wish.table, Path(__file__).name, table(rows))


if __name__ == "__main__":
    main()
