"""Products with the Jacobian of a convolutional ResNet, and its spectrum, against the floor.

Prints JSON.  The floor is as many plain batched convolutions as the products contain: one
`conv2d` a block for J V, one `conv_transpose2d` a block for the transpose, all probes in one
batch; `floor_channels_last` is the same in the memory layout that the CPU's kernels like best.
Ratios are minimum over minimum of alternating repeats.  Memory is the rise of the peak resident
size of a fresh process.  `--peers` installs hessian-eigenthings and curvlinops into a temporary
folder (with `--no-deps`) and runs them on the same net; `--large` goes to 102,400 dimensions.

    python benchmarks/bench_spectrum.py [--quick] [--peers] [--large]
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from _common import alternate, machine, peak, ratios, show
from isometry import nn as inn
from isometry.nn.tape.forward import record_tape

Products = tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]
PEERS = ["hessian-eigenthings==1.0.0a5", "curvlinops-for-pytorch==3.0.1", "einops", "einconv",
         "opt-einsum", "backpack-for-pytorch", "linear_operator", "tqdm"]  # fmt: skip
SIZES = {"full": (16, 30, 32), "quick": (4, 3, 8), "large": (25, 30, 64)}


class Net(nn.Module):
    """``depth`` blocks ``x + tanh(conv(x))`` at c = 1."""

    def __init__(self, channels: int, depth: int, generator: torch.Generator) -> None:
        super().__init__()
        convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth)]
        for conv in convs:
            nn.init.normal_(conv.weight, std=(9 * channels * depth) ** -0.5, generator=generator)
        self.convs = nn.ModuleList(convs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the blocks in turn."""
        for conv in self.convs:
            x = x + torch.tanh(conv(x))
        return x


def problem(size: str, probes: int) -> tuple[Net, torch.Tensor, torch.Tensor]:
    channels, depth, side = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    net = Net(channels, depth, generator)
    x = torch.randn(1, channels, side, side, generator=generator)
    return net, x, torch.randn(probes, 1, channels, side, side, generator=generator)


def floor(net: Net, _x: torch.Tensor, V: torch.Tensor, layout: torch.memory_format) -> Products:
    kernels = [c.weight.detach().contiguous(memory_format=layout) for c in net.convs]
    batch = V[:, 0].contiguous(memory_format=layout)

    def forward(_: torch.Tensor) -> torch.Tensor:
        for kernel in kernels:
            functional.conv2d(batch, kernel, padding=1)
        return V

    def backward(_: torch.Tensor) -> torch.Tensor:
        for kernel in kernels:
            functional.conv_transpose2d(batch, kernel, padding=1)
        return V

    return torch.no_grad()(forward), torch.no_grad()(backward)


def tape(net: Net, x: torch.Tensor, _V: torch.Tensor) -> Products:
    recorded = record_tape(net, x)
    return recorded.jvp, recorded.vjp


def operator(net: Net, x: torch.Tensor, _V: torch.Tensor) -> Products:
    J = inn.JacobianOperator(net, x)
    return (
        lambda V: (J @ V.reshape(len(V), -1).T).T.reshape(V.shape),
        lambda U: (J.T @ U.reshape(len(U), -1).T).T.reshape(U.shape),
    )


def double_backward(net: Net, x: torch.Tensor, V: torch.Tensor) -> Products:
    batch = x.expand(V[:, 0].shape).clone().requires_grad_()
    y = net(batch)
    u = torch.zeros_like(y, requires_grad=True)
    (g,) = torch.autograd.grad(y, batch, u, create_graph=True)

    def pulled(output: torch.Tensor, source: torch.Tensor) -> Callable:
        return lambda v: torch.autograd.grad(output, source, v[:, 0], retain_graph=True)[0][:, None]

    return pulled(g, u), pulled(y, batch)


def functional_transforms(net: Net, x: torch.Tensor, _V: torch.Tensor) -> Products:
    _, pull = torch.func.vjp(net, x)
    push = torch.func.vmap(lambda v: torch.func.jvp(net, (x,), (v,))[1])
    return push, lambda U: torch.func.vmap(pull)(U)[0]


class AtPoint(nn.Module):
    """The net as a function of its input, held as the one parameter."""

    def __init__(self, net: Net, x: torch.Tensor) -> None:
        super().__init__()
        self.point, self.net = nn.Parameter(x.clone()), copy.deepcopy(net)
        self.net.requires_grad_(False)

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        """Apply the net at the point; the argument is what the peers call data."""
        return self.net(self.point)


def curvlinops_products(net: Net, x: torch.Tensor, _V: torch.Tensor) -> Products:
    import curvlinops

    model = AtPoint(net, x)
    arguments = (model, [model.point], [(torch.zeros(1, 1), torch.zeros(1, 1))])
    options = {"check_deterministic": False}
    J = curvlinops.JacobianLinearOperator(*arguments, **options)
    JT = curvlinops.TransposedJacobianLinearOperator(*arguments, **options)
    return (
        lambda V: (J @ V.reshape(len(V), -1).T).T.reshape(V.shape),
        lambda U: (JT @ U.reshape(len(U), -1).T).T.reshape(U.shape),
    )


def eigenthings_spectrum(net: Net, x: torch.Tensor, probes: int, steps: int) -> Callable[[], Any]:
    import hessian_eigenthings

    operator = hessian_eigenthings.GGNOperator(
        AtPoint(net, x),
        [torch.zeros(1)],
        lambda model, batch: model(batch),
        lambda output, _batch: 0.5 * output.square().sum(),
    )
    return lambda: hessian_eigenthings.spectral_density(
        operator, num_runs=probes, lanczos_steps=steps, seed=0
    )


METHODS = {
    "floor": lambda *a: floor(*a, torch.contiguous_format),
    "floor_channels_last": lambda *a: floor(*a, torch.channels_last),
    "tape": tape,
    "jacobian_operator": operator,
    "double_backward": double_backward,
    "vmap_jvp_vjp": functional_transforms,
}


def repeated(products: Products, V: torch.Tensor, count: int) -> Callable[[], None]:
    def job() -> None:
        for product in products:
            for _ in range(count):
                product(V)

    return job


def spectrum(net: Net, x: torch.Tensor, probes: int, steps: int, exact: bool) -> Callable[[], Any]:
    generator = torch.Generator().manual_seed(1)
    return lambda: inn.singular_spectrum(
        inn.JacobianOperator(net, x), "lanczos", num_probes=probes, num_matvecs=steps,
        reorthogonalise=exact, generator=generator,
    )  # fmt: skip


def differences(built: dict[str, Products], V: torch.Tensor) -> dict[str, float]:
    """Return how far every method's two products are from the tape's, relative to them."""
    reference = [product(V) for product in built["tape"]]
    return {
        name: max(
            float((product(V) - expected).detach().norm() / expected.norm())
            for product, expected in zip(products, reference, strict=True)
        )
        for name, products in built.items()
        if not name.startswith("floor")
    }


def measure(size: str, probes: int, steps: int, *, repeats: int, peers: bool) -> dict[str, Any]:
    net, x, V = problem(size, probes)
    built = {name: method(net, x, V) for name, method in METHODS.items()}
    started = time.perf_counter()
    summary = record_tape(net, x).summary()
    recording = time.perf_counter() - started
    jobs = {name: repeated(products, V, steps) for name, products in built.items()}
    jobs["spectrum"] = spectrum(net, x, probes, steps, exact=False)
    jobs["spectrum_reorthogonalised"] = spectrum(net, x, probes, steps, exact=True)
    if peers:
        built["curvlinops"] = curvlinops_products(net, x, V)
        jobs["curvlinops"] = repeated(built["curvlinops"], V, steps)
        jobs["hessian_eigenthings"] = eigenthings_spectrum(net, x, probes, steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the accuracy of short runs, the peers' own
        times = alternate(jobs, repeats=repeats)
    return {
        "dimension": x.numel(),
        "probes": probes,
        "products_each_way": steps,
        "recording_s": round(recording, 3),
        "tape": summary,
        "over_floor": ratios(times, floor="floor"),
        "over_floor_channels_last": ratios(times, floor="floor_channels_last"),
        "difference_from_tape": differences(built, V),
        "times": times,
    }


def memory(size: str, method: str, probes: int, count: int) -> dict[str, Any]:
    """Run one method in this process and note what it adds to the peak resident size."""
    small = problem("quick", probes)
    for products in (METHODS["floor"], METHODS[method]):
        repeated(products(*small), small[2], 1)()  # loads every module that will be needed
    net, x, V = problem(size, probes)
    repeated(METHODS["floor"](net, x, V), V, 1)()
    before, started = peak(), time.perf_counter()
    repeated(METHODS[method](net, x, V), V, count)()
    return {
        "dimension": x.numel(),
        "rise_MiB": round((peak() - before) / 1024, 1),
        "peak_MiB": round(peak() / 1024, 1),
        "seconds": round(time.perf_counter() - started, 2),
    }


def fresh(size: str, method: str, probes: int, count: int) -> dict[str, Any]:
    """Run ``memory`` in a process of its own."""
    call = [sys.executable, __file__, "--memory", size, method, str(probes), str(count)]
    return json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout)


def install_peers(folder: str) -> str | None:
    """Install the peers into a folder; return why not, if they cannot be."""
    call = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, *PEERS]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    sys.path.append(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            __import__("curvlinops")
            __import__("hessian_eigenthings")
    except ImportError as error:
        return f"peers skipped: {error}; {(done.stderr.strip().splitlines() or [''])[-1]}"
    return None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small net, one repeat")
    parser.add_argument("--peers", action="store_true", help="install and run the peers")
    parser.add_argument("--large", action="store_true", help="102,400 dimensions, two products")
    parser.add_argument("--products", type=int, default=60, help="each way, per repeat")
    parser.add_argument("--memory", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory:
        size, method, probes, count = options.memory
        show(memory(size, method, int(probes), int(count)))
        return
    size, probes = ("quick", 2) if options.quick else ("full", 4)
    result: dict[str, Any] = {"benchmark": "spectrum", "machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        skipped = install_peers(folder) if options.peers else "peers skipped: pass --peers"
        result["peers"] = skipped or PEERS
        repeats = 1 if options.quick else 5
        steps = 5 if options.quick else options.products
        result |= measure(size, probes, steps, repeats=repeats, peers=skipped is None)
    measured = ["tape", "double_backward", "vmap_jvp_vjp"]
    result["memory"] = {name: fresh(size, name, probes, 2) for name in measured}
    if options.large:
        result["large"] = {"tape": fresh("large", "tape", probes, 2)}
    show(result)


if __name__ == "__main__":
    main()
