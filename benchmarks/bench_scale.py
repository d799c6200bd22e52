"""Numbers per block and a Lanczos spectrum on a device, each over one training step, in bfloat16.

GPT-2-small and a GPT-2 of 1.3 10^9 parameters, weights random. A step is forward, backward and
AdamW on a batch of 8 sequences; the report (`inn.measure_scale`) is taken at the same batch, the
spectrum of the whole Jacobian at 64 tokens, by two probes. What would begin after `--limit` seconds
is left out and named, so that the whole takes no more than eight minutes on a card.

    python benchmarks/bench_scale.py --device cuda        # --smoke: small models, on the CPU
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import isometry as iso
from _common import machine, show
from bench_device import Embedded
from bench_monitor import Language
from isometry import nn as inn

SIZES = {
    "GPT-2-small": {},
    "GPT-2, 1.3 10^9": {"n_embd": 2048, "n_layer": 24, "n_head": 16},
}
SMOKE = {
    name: {"n_embd": 32, "n_layer": layers, "n_head": 2, "vocab_size": 100}
    for name, layers in (("GPT-2, 2 layers", 2), ("GPT-2, 3 layers", 3))
}


class Clock:
    """Seconds of jobs with the device's queue emptied, and the memory that they take on it."""

    def __init__(self, device: torch.device, limit: float) -> None:
        self.device, self.end = device, time.perf_counter() + limit

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.perf_counter() > self.end

    def taken(self, job: Callable[[], Any], repeats: int) -> tuple[float, float | None]:
        """Return the least time of a job after a warm-up, and its peak in GB; None on the CPU."""
        on_card, best = self.device.type == "cuda", float("inf")
        job()
        if on_card:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        for _ in range(repeats):
            start = time.perf_counter()
            job()
            if on_card:
                torch.cuda.synchronize(self.device)
            best = min(best, time.perf_counter() - start)
        return best, torch.cuda.max_memory_allocated(self.device) / 1e9 if on_card else None


def measure(size: dict[str, int], clock: Clock, wish: Any) -> dict[str, Any]:
    """Return one row: seconds of a step, both measurements over it, peaks, what was found."""
    torch.manual_seed(0)
    model = Language(**size).eval().to(clock.device, torch.bfloat16)
    words = model.trunk.config.vocab_size
    tokens = torch.randint(0, words, (8, wish.tokens + 1)).to(clock.device)
    step, peak = clock.taken(_training(model, tokens), wish.repeats)
    row: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "batch": [8, wish.tokens],
        "seconds of a step": step,
        "peak GB of a step": peak,
    }
    for name, job in _jobs(model, tokens, wish).items():
        if clock.is_over:
            row[name] = "left out: no time was left"
            continue
        found: list[dict[str, Any]] = []
        seconds, peak = clock.taken(lambda: found.append(job()), 1)  # noqa: B023 (called here)
        row[name] = {"over a step": seconds / step, "peak GB": peak} | found[-1]
    return row


def _training(model: nn.Module, tokens: Tensor) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        logits = model(tokens[:, :-1]).float()
        functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def _jobs(model: Any, tokens: Tensor, wish: Any) -> dict[str, Callable[[], dict[str, Any]]]:
    def report() -> dict[str, Any]:
        found = inn.measure_scale(model, tokens[:, :-1])
        return {"blocks": len(found.blocks), "c": found.c, "c s.e.": found.c_standard_error}

    def spectrum() -> dict[str, Any]:
        x = model.trunk.wte(tokens[:1, :64]).detach()
        J = inn.JacobianOperator(Embedded(model.trunk), x)
        seeded = torch.Generator(x.device).manual_seed(2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", iso.AccuracyWarning)  # the steps are fixed on purpose
            found = inn.singular_spectrum(
                J, method="lanczos", num_probes=2, num_matvecs=wish.steps, generator=seeded
            )
        return {"entries": J.shape[0], "largest s": float(found.values[-1]) ** 0.5}

    return {"report per block": report, f"spectrum of 2 x {wish.steps} products": spectrum}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true", help="small models, few products")
    parser.add_argument("--tokens", type=int, default=256, help="of each of 8 sequences")
    parser.add_argument("--steps", type=int, default=60, help="Lanczos products a probe")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=300, help="seconds; none begins after them")
    wish = parser.parse_args(arguments)
    if wish.smoke:
        wish.tokens, wish.steps, wish.repeats = 64, 4, 1
    device = torch.device(wish.device)
    clock, start = Clock(device, wish.limit), time.perf_counter()
    rows: dict[str, Any] = {}
    for name, size in (SMOKE if wish.smoke else SIZES).items():
        rows[name] = "left out: no time was left" if clock.is_over else measure(size, clock, wish)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    seconds = time.perf_counter() - start
    show({"machine": machine(), "card": card, "type": "bfloat16", "seconds": seconds, "rows": rows})


if __name__ == "__main__":
    main()
