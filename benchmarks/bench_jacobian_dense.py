"""The dense Jacobian of the paper's network: products of layer matrices against autograd.

Prints JSON.  `product` is `isometry.nn.ResNet.jacobian`, the floor is L plain N x N products.
The spectrum (the exact product, then the eigenvalues of its Gram matrix in float64) is compared
with `torch.func.jacrev` followed by `svdvals`; `checked_spectrum` adds what `JacobianOperator`
does first: the tape, the adjoint test and the comparison of one probe.

    python benchmarks/bench_jacobian_dense.py [--quick]
"""

import argparse

import torch

from _common import alternate, machine, ratios, show
from isometry import nn as inn
from isometry.theory.propagation import ResNetSpec


def measure(width: int, depth: int, *, repeats: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    net = inn.ResNet(ResNetSpec("tanh", depth=depth, sigma_w=1.0), width, generator=generator)
    x = torch.randn(width, generator=generator)
    weights = [linear.weight.detach() for linear in net.linear_maps()]
    buffers = [torch.eye(width), torch.empty(width, width)]

    def floor():
        for weight in weights:
            torch.mm(weight, buffers[0], out=buffers[1])

    def checked_spectrum():
        return inn.singular_spectrum(inn.JacobianOperator(net, x), method="dense")

    jobs = {
        "floor": floor,
        "product": lambda: net.jacobian(x),
        "jacrev": lambda: torch.func.jacrev(net)(x),
        "spectrum": lambda: inn.matrix_spectrum(net.jacobian(x)),
        "checked_spectrum": checked_spectrum,
        "jacrev_svdvals": lambda: torch.linalg.svdvals(torch.func.jacrev(net)(x)),
    }
    times = alternate(jobs, repeats=repeats)
    gap = (net.jacobian(x) - torch.func.jacrev(net)(x)).abs().max()
    return {
        "width": width,
        "depth": depth,
        "over_floor": ratios(times, floor="floor"),
        "spectrum_speedup_over_jacrev_svdvals": round(
            times["jacrev_svdvals"]["min_s"] / times["spectrum"]["min_s"], 3
        ),
        "largest_difference_from_jacrev": float(gap.detach()),
        "times": times,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one repeat")
    quick = parser.parse_args(arguments).quick
    sizes = [(64, 8)] if quick else [(500, 50), (1000, 20)]
    runs = [measure(width, depth, repeats=1 if quick else 7) for width, depth in sizes]
    show({"benchmark": "jacobian_dense", "machine": machine(), "runs": runs})


if __name__ == "__main__":
    main()
