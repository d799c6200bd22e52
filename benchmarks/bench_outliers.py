"""Outliers of the paper's network and of models of one's own: predicted, and measured.

Each row is one activation, depth and bias: the largest singular value of dense Jacobians, over it
what one forward pass says, and over their mean what `predict_outliers` says. The second table has
perceptrons and convolutions that are no `inn.ResNet`.

    python benchmarks/bench_outliers.py [--quick] [--write docs/outliers.md]
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from _common import machine, show
from isometry import nn as inn
from isometry._result import format_table
from isometry.nn.diagnosis.forward_outliers import outliers_from_forward
from isometry.nn.networks.resnet import ResNet
from isometry.theory.prediction import predict_outliers
from isometry.theory.propagation import ResNetSpec

FULL = {"widths": (700, 1000), "networks": 8, "depths": (20, 50, 100)}
QUICK = {"widths": (100,), "networks": 2, "depths": (12,)}
Row: TypeAlias = dict[str, Any]
SIGMA_W = {"relu": 1.0, "leaky_relu(0.1)": 1.2, "softplus": 1.0, "gelu": 2.0, "silu": 2.0}


PAGE = """# Outliers: predicted and measured

Written by `python benchmarks/bench_outliers.py --write docs/outliers.md`. Each row has eight
networks at random inputs. `measured` is the mean of the largest singular values of their dense
Jacobians and `scatter` their standard deviation over it; `forward_off` is the mean of
`inn.outliers_from_forward` over measured, less 1, and `forward_worst` the largest of the eight
distances; `wide_off` is `iso.predict_outliers` over the mean of what was measured, less 1, and
`seconds` the processor time that it took. The equations are (37) to (39) of [theory](theory.md).

"""
OWN = """
## Models of one's own

`inn.outliers_from_forward(model, x)` of models that are no `inn.ResNet`: a block's Jacobian is
known in the direction of its own input, by a product with each block, and the rest of it is taken
for free noise of its c. `second` is the second largest singular value, where the bulk ends or
nearly so; `found` how many of the networks have an outlier by the forward pass. A branch that ends
in a map adds no direction that the next one meets again, and has none. A convolution meets every
place of the stream with the same weights, of which the stream as a whole is one direction of many.

"""


def row(spec: ResNetSpec, *, width: int, networks: int) -> Row:
    """Return one row: what was measured and predicted."""
    generator, measured, forward = torch.Generator().manual_seed(0), [], []
    for _ in range(networks):
        net = ResNet(spec, width=width, generator=generator)
        x = torch.randn(width, generator=generator)
        s = torch.linalg.svdvals(net.jacobian(x))
        measured.append(float(s[0]))
        own = outliers_from_forward(net, x)
        forward.append(float(own[-1]) if len(own) else float("nan"))
    start = time.process_time()
    wide = predict_outliers(spec)
    seconds = time.process_time() - start
    off = np.array(forward) / np.array(measured) - 1
    return {
        "activation": str(spec.activation),
        "L": spec.depth,
        "sigma_w": spec.sigma_w,
        "sigma_b": spec.sigma_b,
        "N": width,
        "measured": float(np.mean(measured)),
        "scatter": float(np.std(measured) / np.mean(measured)),
        "forward_off": float(off.mean()),
        "forward_worst": float(np.abs(off).max()),
        "wide_off": float(wide[-1] / np.mean(measured) - 1) if len(wide) else float("nan"),
        "seconds": seconds,
    }


class Perceptron(nn.Module):
    """x + last(W_2 relu(W_1 x)), with a layer norm in front where that is asked."""

    def __init__(self, width: int, depth: int, last: nn.Module, *, norm: bool = False) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.second = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))
        self.last, self.norm = last, nn.LayerNorm(width) if norm else nn.Identity()
        for maps, gain in ((self.first, 2.0), (self.second, 1.0 / depth)):
            for linear in maps:
                nn.init.normal_(linear.weight, std=(gain / linear.in_features) ** 0.5)
                nn.init.normal_(linear.bias, std=0.1 * gain**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the stream's end."""
        for first, second in zip(self.first, self.second, strict=True):
            x = x + self.last(second(torch.relu(first(self.norm(x)))))
        return x


class Convolutions(nn.Module):
    """x + relu(a convolution of x), 3 x 3."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(depth)
        )
        for conv in self.maps:
            nn.init.normal_(conv.weight, std=(9 * channels * depth) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the stream's end."""
        for conv in self.maps:
            x = x + torch.relu(conv(x))
        return x


def own_row(name: str, make: Callable[[], nn.Module], shape: tuple[int, ...], count: int) -> Row:
    """Return one row of the second table."""
    found, top, off = 0, [], []
    for seed in range(count):
        torch.manual_seed(seed)
        model, x = make(), torch.randn(1, *shape)
        s = torch.linalg.svdvals(inn.JacobianOperator(model, x).to_dense())
        top.append(s[:2].tolist())
        known = inn.outliers_from_forward(model, x)
        found += len(known) > 0
        off += [float(known[-1] / s[0]) - 1] if len(known) else []
    measured, second = np.mean(top, axis=0).tolist()
    return {
        "model": name,
        "shape": " x ".join(map(str, shape)),
        "measured": measured,
        "second": second,
        "found": f"{found} of {count}",
        "forward_off": float(np.mean(off)) if off else None,
        "forward_worst": float(np.abs(off).max()) if off else None,
    }


def own_rows(*, quick: bool) -> list[Row]:
    """Return the second table."""
    n, channels, side, count = (60, 4, 4, 2) if quick else (400, 16, 6, 8)
    relu, plain = nn.ReLU(), nn.Identity()
    rows = []
    for depth in (6,) if quick else (12, 40):
        kinds: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
            "x + relu(W2 relu(W1 x))": (lambda d=depth: Perceptron(n, d, relu), (n,)),
            "x + W2 relu(W1 x)": (lambda d=depth: Perceptron(n, d, plain), (n,)),
            "x + W2 relu(W1 norm(x))": (lambda d=depth: Perceptron(n, d, plain, norm=True), (n,)),
            "x + relu(conv(x))": (
                lambda d=depth: Convolutions(channels, d), (channels, side, side),
            ),
        }  # fmt: skip
        rows += [
            own_row(f"{name}, L = {depth}", make, shape, count)
            for name, (make, shape) in kinds.items()
        ]
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", type=Path, help="write the page instead of printing JSON")
    arguments = parser.parse_args(argv)
    size = QUICK if arguments.quick else FULL
    rows = [
        row(
            ResNetSpec(name, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b),
            width=width,
            networks=size["networks"],
        )
        for width in size["widths"]
        for name, sigma_w in SIGMA_W.items()
        for depth in size["depths"]
        for sigma_b in (0.0, 0.3)
    ]
    own = own_rows(quick=arguments.quick)
    if arguments.write:
        tables = (format_table(each, markdown=True) + "\n" for each in (rows, own))
        arguments.write.write_text("".join(map("".join, zip((PAGE, OWN), tables, strict=True))))
    else:
        show({"benchmark": "outliers", "machine": machine(), "rows": rows, "own": own})


if __name__ == "__main__":
    main()
