"""What does a diagnosis cost, in forward and backward passes of the same model, and is it right?

Prints a table and JSON. "fb" is one forward and backward pass with the weights' gradients; times
are processor seconds of one thread, minima of repeats in one run. Memory is the peak resident size
of a fresh process that diagnoses over that of one that makes a pass. Accuracy is the largest
distance of the distribution functions of Lanczos, as the defaults choose it, and of the dense
Jacobian, on a smaller sibling, and how much of the spectrum Lanczos called unresolved. The last
rows are the dense spectrum of the paper's network, operator and its checks included, over
`torch.func.jacrev` and `svdvals`.

    python benchmarks/bench_diagnose.py [--quick]
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from _common import machine, peak, show
from isometry import nn as inn
from isometry._result import format_table
from isometry.theory.propagation import ResNetSpec


class Tokens(nn.Module):
    """A language model from embeddings to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.model(inputs_embeds=x).logits


class Pixels(Tokens):
    """An image model from pixels to logits."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.model(pixel_values=x).logits


@dataclass(frozen=True)
class Row:
    """A model and its sibling, by what makes them, and the shapes of their inputs."""

    build: Callable[..., nn.Module]
    size: dict[str, Any]
    shape: tuple[int, ...]
    sibling: dict[str, Any]
    sibling_shape: tuple[int, ...]
    train: bool = False


def gpt2(layers: int, width: int) -> nn.Module:
    heads = max(width // 64, 1)
    config = transformers.GPT2Config(n_layer=layers, n_embd=width, n_head=heads)
    return Tokens(transformers.GPT2LMHeadModel(config)).eval()


def vit(layers: int, width: int, side: int) -> nn.Module:
    config = transformers.ViTConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=max(width // 64, 1),
        intermediate_size=4 * width,
        image_size=side,
    )
    return Pixels(transformers.ViTForImageClassification(config)).eval()


def resnet(width: int) -> nn.Module:
    config = transformers.ResNetConfig(
        embedding_size=width,
        hidden_sizes=[width * 2**i for i in range(4)],
        depths=[2, 2, 2, 2],
        layer_type="basic",
    )
    return Pixels(transformers.ResNetForImageClassification(config)).eval()


MODELS = {
    "GPT-2 small, 64 tokens": Row(
        gpt2, {"layers": 12, "width": 768}, (1, 64, 768),
        {"layers": 4, "width": 64}, (1, 32, 64),
    ),
    "GPT-2 4 x 256, 128 tokens": Row(
        gpt2, {"layers": 4, "width": 256}, (1, 128, 256),
        {"layers": 4, "width": 32}, (1, 64, 32),
    ),
    "ViT 6 x 192": Row(
        vit, {"layers": 6, "width": 192, "side": 224}, (1, 3, 224, 224),
        {"layers": 6, "width": 48, "side": 96}, (1, 3, 96, 96),
    ),
    "ResNet-18, 64 x 64": Row(
        resnet, {"width": 64}, (1, 3, 64, 64), {"width": 32}, (1, 3, 64, 64)
    ),
    "ResNet-18, 64 x 64, train mode": Row(
        resnet, {"width": 64}, (1, 3, 64, 64), {"width": 32}, (1, 3, 64, 64), train=True
    ),
}  # fmt: skip
QUICK = {
    name: Row(row.build, size, shape, size, shape, row.train)
    for (name, row), size, shape in zip(
        MODELS.items(),
        ({"layers": 2, "width": 16}, {"layers": 1, "width": 16},
         {"layers": 2, "width": 16, "side": 48}, {"width": 4}, {"width": 4}),
        ((1, 6, 16), (1, 8, 16), (1, 3, 48, 48), (1, 3, 64, 64), (1, 3, 64, 64)),
        strict=True,
    )
}  # fmt: skip


def problem(row: Row, *, sibling: bool = False) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = row.build(**(row.sibling if sibling else row.size)).train(row.train)
        return model, torch.randn(row.sibling_shape if sibling else row.shape)


def passes(model: nn.Module, x: Tensor) -> None:
    """Go forward and backward once, as a training step does."""
    model.zero_grad(set_to_none=True)
    model(x.requires_grad_()).sum().backward()


def diagnosed(model: nn.Module, x: Tensor, **options: Any) -> inn.Diagnosis:
    """Diagnose with the statistics that the model's mode uses, its own or those of ``x``."""
    statistics = "batch" if model.training else "eval"
    generator = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return inn.diagnose(
            model, x.detach(), batch_norm=statistics, generator=generator, **options
        )


def seconds(job: Callable[[], Any], repeats: int) -> float:
    """Return the least processor time of a call."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        job()
        times.append(time.process_time() - started)
    return min(times)


def measure(row: Row, *, repeats: int) -> dict[str, Any]:
    model, x = problem(row)
    passes(model, x)  # warm-up
    fb = seconds(lambda: passes(model, x), 3 * repeats)
    model.zero_grad(set_to_none=True)
    found: list[inn.Diagnosis] = []
    took = seconds(lambda: found.append(diagnosed(model, x)), repeats)
    return {
        "N": found[0].spectrum.dimension,
        "fb_s": round(fb, 4),
        "diagnose_s": round(took, 3),
        "diagnose_over_fb": round(took / fb, 1),
        "found_by": found[0].spectrum.provenance,
        "unresolved": round(float(np.diff(found[0].spectrum.unresolved)[0]), 3),
    }


def accuracy(row: Row) -> dict[str, Any]:
    """Compare Lanczos, as the defaults choose it, with the dense Jacobian of the sibling."""
    model, x = problem(row, sibling=True)
    dense, lanczos = (diagnosed(model, x, method=m).spectrum for m in ("dense", "lanczos"))
    at = np.union1d(dense.values, lanczos.values)
    gap = np.abs(dense.cdf(at) - lanczos.cdf(at))
    high = lanczos.unresolved[1]
    known = np.minimum(dense.cdf(at), lanczos.cdf(at)) >= high
    return {
        "sibling_N": dense.dimension,
        "sibling_distance": round(float(gap[known].max()), 4),
        "sibling_unresolved": round(float(high - lanczos.unresolved[0]), 3),
    }


def memory(name: str, quick: bool) -> dict[str, Any]:
    """Return the peak resident sizes of fresh processes, in MiB, and their ratio."""
    sizes = {}
    for what in ("fb", "diagnose"):
        call = [sys.executable, __file__, "--memory", what, name, *(["--quick"] if quick else [])]
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        sizes[what] = json.loads(done.stdout)["peak_MiB"]
    ratio = round(sizes["diagnose"] / sizes["fb"], 2)
    return {"fb_MiB": sizes["fb"], "diagnose_MiB": sizes["diagnose"], "memory_over_fb": ratio}


def peak_of(what: str, row: Row) -> dict[str, float]:
    model, x = problem(row)
    if what == "fb":
        passes(model, x)
    else:
        diagnosed(model, x)
    return {"peak_MiB": round(peak() / 1024, 1)}


def dense_spectrum(width: int, depth: int, *, repeats: int) -> dict[str, Any]:
    """Return the time of the checked dense spectrum over that of jacrev and svdvals."""
    generator = torch.Generator().manual_seed(0)
    net = inn.ResNet(ResNetSpec("tanh", depth=depth, sigma_w=1.0), width, generator=generator)
    x = torch.randn(width, generator=generator)
    jobs = {
        "checked": lambda: inn.singular_spectrum(inn.JacobianOperator(net, x), method="dense"),
        "jacrev": lambda: torch.linalg.svdvals(torch.func.jacrev(net)(x)),
    }
    times = {name: float("inf") for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(repeats):
        times = {name: min(times[name], seconds(job, 1)) for name, job in jobs.items()}
    ratio = round(times["checked"] / times["jacrev"], 3)
    return {"width": width, "depth": depth, "over_jacrev_svdvals": ratio, "seconds": times}


def run(quick: bool) -> dict[str, Any]:
    rows, repeats = (QUICK, 1) if quick else (MODELS, 2)
    sizes = [(40, 4)] if quick else [(500, 50), (1000, 20)]
    models = []
    for name, row in rows.items():
        measured = measure(row, repeats=repeats) | memory(name, quick) | accuracy(row)
        models.append({"model": name} | measured)
    dense = [dense_spectrum(*size, repeats=1 if quick else 5) for size in sizes]
    return {"benchmark": "diagnose", "machine": machine(), "models": models, "dense": dense}


def table(record: dict[str, Any]) -> str:
    columns = ("model", "N", "diagnose_over_fb", "memory_over_fb", "unresolved",
               "sibling_distance", "sibling_unresolved")  # fmt: skip
    models = [{key: row[key] for key in columns} for row in record["models"]]
    columns = ("width", "depth", "over_jacrev_svdvals")
    dense = [{key: row[key] for key in columns} for row in record["dense"]]
    return f"{format_table(models)}\n\n{format_table(dense)}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny models, one repeat")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.memory:
        what, name = options.memory
        show(peak_of(what, (QUICK if options.quick else MODELS)[name]))
        return
    record = run(options.quick)
    print(table(record), file=sys.stderr)
    show(record)


if __name__ == "__main__":
    main()
