"""How much do two processes gain over one, and what does the training loop cost over a bare one?

The first ratio is serial time over the time of two processes on the Monte Carlo study (wanted
>= 1.8 on two idle cores), the workers' start included and also left out; on a machine that does
other things as well, the number of workers at work says whether the executor is the one to wait.
The second is this
project's loop over the same steps written out (wanted <= 1.15).
"""

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
from isometry.nn.resnet import ResNet
from isometry.theory.propagation import ResNetSpec

RUNS = 24
STEPS = 30


def monte_carlo():
    size = {"cs": [1.0], "entries": ["gaussian"], "width": 300, "depth": 100}
    return plan(**size, widths=[], depths=[], seeds=RUNS)


def timed_sweep(kind, workers):
    """Return the time of all runs, of one after workers are up, and how many were at work."""
    stamps = [time.perf_counter()]
    with tempfile.TemporaryDirectory() as folder:
        opened = partial(open_executor, kind, workers)
        sweep(
            monte_carlo(),
            Path(folder),
            run_task,
            open_executor=opened,
            window=2 * workers,
            progress=lambda _: stamps.append(time.perf_counter()),
        )
        inside = sum(run.seconds for run in all_runs(Path(folder)))
    steady = stamps[-1] - stamps[2]
    return stamps[-1] - stamps[0], steady / (RUNS - 2), inside * (RUNS - 2) / RUNS / steady


def executors():
    whole, steady, busy = {}, {}, {}
    for _ in range(3):
        for name, workers in (("serial", 1), ("process", 2)):
            seconds, each, busy[name] = timed_sweep(name, workers)
            whole[name] = min(seconds, whole.get(name, np.inf))
            steady[name] = min(each, steady.get(name, np.inf))
    return {
        "runs": RUNS,
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


def ours():
    model, x, y = problem()
    training = Training(STEPS, batch=64, learning_rate=0.01, evaluate_every=STEPS)
    train(model, x, y, training, measure=no_evaluation)


def bare():
    model, x, y = problem()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        index = torch.randint(0, len(x), (64,), generator=generator)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x[index]), y[index]).backward()
        optimiser.step()


def main():
    torch.set_num_threads(1)
    loop = alternate({"bare": bare, "ours": ours}, repeats=7)
    show(
        {
            "benchmark": "executors",
            "machine": machine(),
            "monte_carlo": executors(),
            "training_loop": {"times": loop, "ratio": ratios(loop, floor="bare")},
        }
    )


if __name__ == "__main__":
    main()
