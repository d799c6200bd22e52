"""What following the blocks costs a training: a measurement's processor seconds over a step's.

A step is forward, backward and AdamW of a GPT-2 on a batch; a measurement is one call of
``inn.JacobianMonitor(at="blocks")`` at a batch of one sequence and at the whole batch. Both are
taken in turn, so that a slow spell of the machine hits both. Over ``every`` steps the cost is the
measurement's over theirs.

    python benchmarks/bench_monitor.py               # GPT-2-small; --quick: a small one
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from _common import machine, show
from isometry import nn as inn

EVERY = 200


class Language(nn.Module):
    """A GPT-2 with its head, from tokens to logits."""

    def __init__(self, **size: int) -> None:
        super().__init__()
        import transformers

        config = transformers.GPT2Config(bos_token_id=0, eos_token_id=0, **size)
        self.trunk = transformers.GPT2Model(config)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.head.weight = self.trunk.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        return self.head(self.trunk(tokens).last_hidden_state)


def processor(job: Callable[[], Any]) -> float:
    """Return the processor seconds of a job."""
    start = time.process_time()
    job()
    return time.process_time() - start


def measure(size: dict[str, int], batch: int, length: int, repeats: int) -> dict[str, Any]:
    """Return the cost of measurements over 200 steps, in percent."""
    torch.manual_seed(0)
    model = Language(**size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    words = model.trunk.config.vocab_size
    tokens = torch.randint(0, words, (batch, length + 1))

    def step() -> None:
        logits = model(tokens[:, :-1])
        functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimiser.step()
        optimiser.zero_grad()

    monitors = {
        f"{count} of {batch} sequences": (inn.JacobianMonitor(at="blocks"), tokens[:count, :-1])
        for count in (1, batch)
    }
    step()
    steps: list[float] = []
    taken: dict[str, list[float]] = {name: [] for name in monitors}
    for _ in range(repeats):
        steps.append(processor(step))
        for name, (monitor, x) in monitors.items():
            taken[name].append(processor(lambda: monitor(model, x, 0)))  # noqa: B023 (called here)
    one = statistics.median(steps)
    costs = {name: statistics.median(seen) / one for name, seen in taken.items()}
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "batch": [batch, length],
        "blocks": len(monitors[f"1 of {batch} sequences"][0].last.blocks),
        "measurement over a step": {name: round(cost, 3) for name, cost in costs.items()},
        f"percent of {EVERY} steps": {
            name: round(100 * cost / EVERY, 3) for name, cost in costs.items()
        },
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model and one round")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    options = parser.parse_args(arguments)
    small = {"n_embd": 32, "n_head": 2, "n_layer": 2, "vocab_size": 100}
    size, repeats = (small, 1) if options.quick else ({}, 3)
    show({"machine": machine(), **measure(size, options.batch, options.length, repeats)})


if __name__ == "__main__":
    main()
