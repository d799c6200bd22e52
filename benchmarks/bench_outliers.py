"""Outliers of the paper's network: predicted, from the own forward pass, and measured.

Each row is one activation, depth and bias: the largest singular value of dense Jacobians, over it
what one forward pass says, and over their mean what `predict_outliers` says.

    python benchmarks/bench_outliers.py [--quick] [--write docs/outliers.md]
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _common import machine, show
from isometry._result import format_table
from isometry.nn.diagnosis.forward_outliers import outliers_from_forward
from isometry.nn.networks.resnet import ResNet
from isometry.theory.prediction import predict_outliers
from isometry.theory.propagation import ResNetSpec

FULL = {"width": 700, "networks": 8, "depths": (20, 50, 100)}
QUICK = {"width": 100, "networks": 2, "depths": (12,)}
SIGMA_W = {"relu": 1.0, "leaky_relu(0.1)": 1.2, "softplus": 1.0, "gelu": 2.0, "silu": 2.0}


PAGE = """# Outliers: predicted and measured

Written by `python benchmarks/bench_outliers.py --write docs/outliers.md`. Each row has eight
networks at random inputs. `measured` is the mean of the largest singular values of their dense
Jacobians and `scatter` their standard deviation over it; `forward_off` is the mean of
`inn.outliers_from_forward` over measured, less 1, and `forward_worst` the largest of the eight
distances; `wide_off` is `iso.predict_outliers` over the mean of what was measured, less 1, and
`seconds` the processor time that it took. The equations are (37) to (39) of [theory](theory.md).

"""


def row(spec: ResNetSpec, *, width: int, networks: int) -> dict[str, Any]:
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


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", type=Path, help="write the page instead of printing JSON")
    parser.add_argument("--width", type=int)
    arguments = parser.parse_args(argv)
    size = QUICK if arguments.quick else FULL
    width = arguments.width or size["width"]
    rows = [
        row(
            ResNetSpec(name, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b),
            width=width,
            networks=size["networks"],
        )
        for name, sigma_w in SIGMA_W.items()
        for depth in size["depths"]
        for sigma_b in (0.0, 0.3)
    ]
    if arguments.write:
        arguments.write.write_text(PAGE + format_table(rows, markdown=True) + "\n")
    else:
        show({"benchmark": "outliers", "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
