"""How much do two processes gain over one, and what does the training loop cost over a bare one?

The first ratio is serial time over the time of two processes on the Monte Carlo study (wanted
>= 1.8 on two idle cores), the workers' start included and also left out; on a machine that does
other things as well, the number of workers at work says whether the executor is the one to wait.
The second is this
project's loop over the same steps written out (wanted <= 1.15).

    python benchmarks/bench_executors.py [--quick]
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from _common import alternate, machine, ratios, show
from isometry.experiments.engine.executors import open_executor
from isometry.experiments.engine.runs import all_runs
from isometry.experiments.engine.sweeps import sweep
from isometry.experiments.parts.classifiers import Classifier
from isometry.experiments.parts.training import Training, train
from isometry.experiments.studies.random_matrices import plan
from isometry.experiments.tasks import run_task
from isometry.nn.networks.resnet import ResNet
from isometry.theory.propagation import ResNetSpec

FULL = {"runs": 24, "width": 300, "depth": 100, "steps": 30, "repeats": 3}
QUICK = {"runs": 4, "width": 20, "depth": 4, "steps": 3, "repeats": 1}


def monte_carlo(size):
    shape = {"width": size["width"], "depth": size["depth"], "trend_width": size["width"]}
    entries = {"cs": [1.0], "entries": ["gaussian"]}
    return plan(**shape, **entries, widths=[], depths=[], seeds=size["runs"])


def timed_sweep(kind, workers, size):
    """Return the time of all runs, of one after workers are up, and how many were at work."""
    stamps = [time.perf_counter()]
    with tempfile.TemporaryDirectory() as folder:
        opened = partial(open_executor, kind, workers)
        sweep(
            monte_carlo(size),
            Path(folder),
            run_task,
            open_executor=opened,
            window=2 * workers,
            progress=lambda _: stamps.append(time.perf_counter()),
        )
        inside = sum(run.seconds for run in all_runs(Path(folder)))
    steady = stamps[-1] - stamps[2]
    left = size["runs"] - 2
    return stamps[-1] - stamps[0], steady / left, inside * left / size["runs"] / steady


def executors(size):
    whole, steady, busy = {}, {}, {}
    for _ in range(size["repeats"]):
        for name, workers in (("serial", 1), ("process", 2)):
            seconds, each, busy[name] = timed_sweep(name, workers, size)
            whole[name] = min(seconds, whole.get(name, np.inf))
            steady[name] = min(each, steady.get(name, np.inf))
    return {
        "runs": size["runs"],
        "serial_s": round(whole["serial"], 2),
        "process_2_s": round(whole["process"], 2),
        "speed_up_with_start": round(whole["serial"] / whole["process"], 2),
        "speed_up": round(steady["serial"] / steady["process"], 2),
        "workers_busy": round(busy["process"], 2),
    }


def problem():
    generator = torch.Generator().manual_seed(0)
    trunk = ResNet(ResNetSpec("relu", depth=20), 256, generator=generator)
    x = torch.randn(2000, 256, generator=generator)
    return Classifier(trunk, 256), x, torch.randint(0, 10, (2000,), generator=generator)


def no_evaluation(step):  # noqa: ARG001
    return 1.0


def ours(steps):
    model, x, y = problem()
    training = Training(steps, batch=64, learning_rate=0.01, evaluate_every=steps)
    train(model, x, y, training, measure=no_evaluation)


def bare(steps):
    model, x, y = problem()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        index = torch.randint(0, len(x), (64,), generator=generator)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x[index]), y[index]).backward()
        optimiser.step()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few small runs, one repeat")
    size = QUICK if parser.parse_args(arguments).quick else FULL
    torch.set_num_threads(1)
    jobs = {"bare": partial(bare, size["steps"]), "ours": partial(ours, size["steps"])}
    loop = alternate(jobs, repeats=2 * size["repeats"] + 1)
    show(
        {
            "benchmark": "executors",
            "machine": machine(),
            "monte_carlo": executors(size),
            "training_loop": {"times": loop, "ratio": ratios(loop, floor="bare")},
        }
    )


if __name__ == "__main__":
    main()
