"""Tasks for the tests of runs and sweeps: importable by a worker process."""

import json
import os
import signal
import time

import numpy as np

from isometry.experiments.engine.runs import Outcome, Run, RunConfig, find_run, perform
from isometry.report import Figure, Table


def unshown(found):
    """Return the claims of a study that stand beside no figure and above no table."""
    return [
        claim.statement
        for reading in found.readings
        if not any(isinstance(block, (Figure, Table)) for block in reading.blocks)
        for claim in reading.hypotheses
    ]


def configs(number, **settings):
    return [RunConfig("product", seed, {"size": 40, **settings}) for seed in range(number)]


def product(config, folder):
    rng = config.rng()
    A = rng.standard_normal((config.settings["size"], config.settings["size"]))
    return Outcome(
        {"trace": float(np.trace(A @ A))},
        history=[{"step": 0, "norm": float(np.linalg.norm(A))}],
        arrays={"A2": A @ A},
    )


def product_in_bad_company(config, folder):
    """Kill the worker the first time that seed 1 is done."""
    marker = folder.parent.parent / "killed"
    if config.seed == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return product(config, folder)


def deadly(config, folder):
    os.kill(os.getpid(), signal.SIGKILL)


def failing(config, folder):
    if config.seed == 1:
        raise ValueError("`x` is 1; expected another number.")
    return product(config, folder)


def logged(config, folder):
    """Leave a line a call, to count calls over processes."""
    with open(folder.parent.parent / "calls", "a", encoding="utf-8") as calls:
        calls.write(f"{config.id}\n")
    time.sleep(0.02)
    return product(config, folder)


def slow_once(config, folder):
    """Wait for a minute the first time."""
    marker = folder.parent.parent / "started"
    if not marker.exists():
        marker.touch()
        time.sleep(60)
    return product(config, folder)


def process_number(seconds):
    """Return the worker's number, after the others have taken their calls."""
    time.sleep(seconds)
    return os.getpid()


def sleep_long():
    time.sleep(600)


def slowly(config, folder):
    time.sleep(0.5)
    return product(config, folder)


def contents(root):
    """Return the numbers of all finished runs, without times."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "run.json" and ".claims" not in path.parts
    }


def do_all(root, number, task):
    return [perform(root, config, task) for config in configs(number)]


def finished(root, plan, task):
    """Do the runs of a plan one after the other and return them."""
    for config in plan:
        perform(root, config, task)
    return [find_run(root, config) for config in plan]


def training_run(folder, scheme, phi, value, seed, speed, steps=100, **further):
    settings = {
        "images": "digits", "limit": 9, "activation": phi, "scheme": scheme, "value": value,
        "width": 5, "side": 0, "depth": 2, "batch": 1, "learning_rate": 0.1, "steps": steps,
        **further,
    }  # fmt: skip
    config = RunConfig("training", seed, settings)
    place = folder / config.id
    place.mkdir()
    history = [{"step": s, "loss": 2.0 - s / speed} for s in range(0, steps + 1, 10)]
    (place / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in history))
    results = {"c": value, "last_loss": history[-1]["loss"], "diverged_at": None}
    return Run(config, results, 1.0, {}, place)


def training_runs(folder, speeds):
    """Return runs whose time to loss 1 is ``speeds[scheme][activation]``."""
    return [
        training_run(folder, scheme, phi, 1.0, seed, speed)
        for scheme, table in speeds.items()
        for phi, speed in table.items()
        for seed in (0, 1)
    ]
