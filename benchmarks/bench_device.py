"""Products and spectra on a device: GPT-2-small and ResNet-50 by configuration, fp32 and bf16.

Times are ratios to forward passes of the same model on the same device; agreement is the relative
difference of one product from the same product on the CPU, TF32 off. Weights are random; batch
normalisation keeps its first statistics, as those of one small image magnify rounding 10,000 times.

    python benchmarks/bench_device.py --device cuda        # --quick: small models, on the CPU
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import isometry as iso
from _common import machine, show
from isometry import nn as inn


class Embedded(nn.Module):
    """A transformer from its embeddings to its last hidden state."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the last hidden state."""
        return self.model(inputs_embeds=x).last_hidden_state


class Pictured(nn.Module):
    """A convolutional network from pixels to its last feature map."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the last feature map."""
        return self.model(pixel_values=x).last_hidden_state


def gpt2(small: bool) -> tuple[nn.Module, Tensor]:
    import transformers

    size = {"n_embd": 32, "n_head": 2, "n_layer": 2} if small else {}
    config = transformers.GPT2Config(**size)
    return Embedded(transformers.GPT2Model(config)), torch.randn(1, 64, config.n_embd)


def resnet50(small: bool) -> tuple[nn.Module, Tensor]:
    import transformers

    size = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]} if small else {}
    side = 32 if small else 128
    return Pictured(transformers.ResNetModel(transformers.ResNetConfig(**size))), torch.randn(
        1, 3, side, side
    )


MODELS = {"GPT-2-small, 64 tokens": gpt2, "ResNet-50, 128 x 128": resnet50}


def seconds(job: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Return the least time of a job after a warm-up, the device's queue emptied."""
    best = float("inf")
    for _ in range(repeats + 1):
        _wait(device)
        start = time.perf_counter()
        job()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _operator(model: nn.Module, x: Tensor) -> inn.JacobianOperator:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", iso.TheoryWarning)  # the first statistics are meant
        return inn.JacobianOperator(model, x)


def measure(
    model: nn.Module, x: Tensor, device: torch.device, dtype: torch.dtype, *, wish: Any
) -> dict[str, Any]:
    """Return one row: ratios to a forward pass, and the difference from the CPU's product."""
    here = model.to(device, dtype)
    J = _operator(here, x.to(device, dtype))
    generator = torch.Generator().manual_seed(1)
    V = torch.randn(J.shape[1], wish.probes, generator=generator)
    v = V.to(device, J.dtype)
    u = (J @ v).detach()
    with torch.no_grad():
        forward = seconds(lambda: here(x.to(device, dtype)), device, wish.repeats)
    ahead = seconds(lambda: J @ v, device, wish.repeats)
    back = seconds(lambda: J.T @ u, device, wish.repeats)

    row: dict[str, Any] = {
        "entries": J.shape[0],
        "J v, of forwards a probe": round(ahead / forward / wish.probes, 3),
        "J^T u, of forwards a probe": round(back / forward / wish.probes, 3),
    }
    row |= _spectrum(J, forward, device, wish)
    reference = _operator(model.to("cpu", torch.float32), x) @ V[:, :1]
    error = (u[:, :1].cpu().float() - reference).norm() / reference.norm()
    return row | {"relative difference from the CPU in fp32": float(f"{float(error):.2g}")}


def _spectrum(
    J: inn.JacobianOperator, forward: float, device: torch.device, wish: Any
) -> dict[str, Any]:
    """Return the cost of a spectrum in forward passes, and its largest value."""

    def spectrum() -> Any:
        seeded = torch.Generator(device).manual_seed(2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", iso.AccuracyWarning)  # the steps are fixed on purpose
            return inn.singular_spectrum(
                J, method="lanczos", num_probes=2, num_matvecs=wish.steps, generator=seeded
            )

    name = f"spectrum of 2 x {wish.steps} products, of forwards"
    found = spectrum()
    return {
        name: round(seconds(spectrum, device, 1) / forward, 1),
        "largest s": round(float(found.values[-1]) ** 0.5, 4),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="small models, few products")
    parser.add_argument("--probes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60, help="Lanczos products a probe")
    parser.add_argument("--repeats", type=int, default=5)
    wish = parser.parse_args(arguments)
    if wish.quick:
        wish.probes, wish.steps, wish.repeats = 2, 6, 1
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = torch.device(wish.device)
    rows: dict[str, Any] = {}
    for name, build in MODELS.items():
        for dtype in (torch.float32, torch.bfloat16):
            torch.manual_seed(0)
            model, x = build(wish.quick)
            row = f"{name}, {str(dtype).removeprefix('torch.')}"
            rows[row] = measure(model.eval(), x, device, dtype, wish=wish)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    show({"machine": machine(), "card": card, "rows": rows})


if __name__ == "__main__":
    main()
