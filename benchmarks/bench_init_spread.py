"""Does a rule give different activations the same Jacobian?

Two residual networks of 32 layers and 200 units, x + W phi(x) and the paper's x + phi(W x + b),
with 11 activations under each rule. Measured at samples that the rule has not seen, in float64, as
medians over three seeds: c of a batch, and the condition number of the bulk (99 % over 1 %
quantile of the singular values of single samples). The table has the largest over the smallest of
both across the activations. Prints JSON, then a markdown table; cells are kept in a file, as by
bench_init.

    python benchmarks/bench_init_spread.py [--peers] [--table docs/initialisation.md]
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from _cells import Key, Row, include, time_taken
from _common import machine, show
from _init_families import Residual, seeded
from _init_rules import anyinit, lsuv, measure_all, parser
from isometry import nn as inn
from isometry._result import format_table
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.theory.gaussian import gaussian_moments
from isometry.theory.propagation import ResNetSpec

WIDTH, DEPTH, BATCH, SPECTRA = 200, 32, 16, 4
FRESH = 1000  # seeds of samples that no rule has seen start here
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "mish": nn.Mish,
    "hardtanh": nn.Hardtanh,
}
PRE, POST = "x + W phi(x)", "x + phi(W x + b)"
Write = Callable[[nn.Module, Tensor, str, int], None]
"""Writes into the model, from the model, a batch, the name of its activation and a seed."""


def build(network: str, activation: str) -> nn.Module:
    """Return the network, with weights that every rule replaces."""
    if network == POST:
        return inn.ResNet(ResNetSpec(activation, depth=DEPTH), WIDTH, generator=seeded(0))
    phi = ACTIVATIONS[activation]
    return nn.Sequential(
        *[Residual(nn.Sequential(phi(), nn.Linear(WIDTH, WIDTH))) for _ in range(DEPTH)]
    )


def linear_maps(model: nn.Module) -> list[nn.Linear]:
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def torch_default(model: nn.Module, _x: Tensor, _activation: str, seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for linear in linear_maps(model):
            linear.reset_parameters()


def normal(model: nn.Module, deviation: float, seed: int) -> None:
    source = seeded(seed)
    for linear in linear_maps(model):
        nn.init.normal_(linear.weight, std=deviation, generator=source)
        nn.init.zeros_(linear.bias)


def kaiming(power: float) -> Write:
    """Return the draw at the gain of torch over sqrt(fan_in) and depth to a power."""

    def write(model: nn.Module, _x: Tensor, activation: str, seed: int) -> None:
        gain = nn.init.calculate_gain(activation)
        normal(model, gain / math.sqrt(WIDTH) / DEPTH**power, seed)

    return write


def gain(model: nn.Module, _x: Tensor, activation: str, seed: int) -> None:
    normal(model, inn.gain(activation) / math.sqrt(WIDTH * DEPTH), seed)


def theory(model: nn.Module, x: Tensor, activation: str, seed: int) -> None:
    """Draw at the sigma_w of c = 1, from the activation and the second moment of x alone."""
    if isinstance(model, inn.ResNet):
        inn.residual_(model, x, c=1.0, method="theory", generator=seeded(seed))
        return
    m2 = float(x.square().mean())

    def excess(log_sigma_w: float) -> float:
        return math.log(pre_activation_cumulant(activation, math.exp(log_sigma_w), m2))

    sigma_w = math.exp(brentq(excess, -3.0, 3.0))
    normal(model, sigma_w / math.sqrt(WIDTH * DEPTH), seed)


def pre_activation_cumulant(activation: str, sigma_w: float, m2: float) -> float:
    """Return c of x + W phi(x): sum of sigma_w^2 / L E phi'^2 over a stream that W phi feeds."""
    c = 0.0
    for _ in range(DEPTH):
        moments = gaussian_moments(activation, m2)
        c += sigma_w**2 / DEPTH * moments.slope_square
        m2 += sigma_w**2 / DEPTH * moments.square
    return c


def data(model: nn.Module, x: Tensor, _activation: str, seed: int) -> None:
    torch_default(model, x, _activation, seed)
    inn.residual_(model, x, c=1.0, method="data", generator=seeded(seed))


RULES: dict[str, Write] = {
    "torch default": torch_default,
    "calculate_gain": kaiming(0.0),
    "calculate_gain / sqrt(L)": kaiming(0.5),
    "isometry.nn.gain / sqrt(L)": gain,
    "isometry c = 1, theory": theory,
    "isometry c = 1, data": data,
}
PEER_RULES: dict[str, Write] = {
    "lsuv 0.3 (PyPI)": lambda model, x, _, seed: lsuv(model, x, seed, {}),
    "anyinit 0.4 (PyPI)": lambda model, x, _, seed: anyinit(model, x, seed, {}),
}


def measure(key: Key) -> Row:
    """Return one cell: medians over the seeds and, for the spectrum, over samples."""
    cs, conditions = [], []
    rule = (RULES | PEER_RULES)[key["rule"]]
    for seed in range(key["seeds"]):
        model = build(key["network"], key["activation"])
        x = torch.randn(BATCH, WIDTH, generator=seeded(seed))
        try:
            rule(model, x, key["activation"], seed)
        except (ValueError, RuntimeError, TypeError) as error:
            return {"remark": str(error).split("\n")[0][:120]}
        model = model.double()
        fresh = torch.randn(BATCH, WIDTH, generator=seeded(FRESH + seed)).double()
        blocks = inn.residual_blocks(model, fresh)
        traces = inn.block_traces(blocks, rtol=0.01, generator=seeded(seed))
        cs.append(math.fsum(t.c for t in traces))
        conditions += [condition(model, sample[None]) for sample in fresh[:SPECTRA]]
    middle = float(np.median(conditions))
    return {"c": float(np.median(cs)), "condition": middle if math.isfinite(middle) else None}


def condition(model: nn.Module, x: Tensor) -> float:
    found = inn.singular_spectrum(JacobianOperator(model, x), "dense")
    low, high = np.sqrt(found.icdf([0.01, 0.99]))
    return float(high / low) if low > 0 else math.inf


def spread(network: str, rule: str, rows: list[Row]) -> Row:
    """Return what a rule makes of all activations: ranges and their ratios."""
    done = [row for row in rows if "c" in row]
    line: Row = {"network": network, "rule": rule, "activations": f"{len(done)} of {len(rows)}"}
    for name in ("c", "condition"):
        values = [row[name] for row in done]
        known = values and None not in values
        line[f"smallest {name}"] = min(values) if known else None
        line[f"largest {name}"] = max(values) if known else None
        line[f"{name}, ratio"] = max(values) / min(values) if known else None
    return line


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, "runs/bench_init_spread.jsonl")
    wish = options.parse_args(arguments)
    rules = [*RULES, *(PEER_RULES if wish.peers else ())]
    lines = [(network, rule) for network in (PRE, POST) for rule in rules]
    keys = [
        {"network": network, "rule": rule, "activation": activation, "seeds": wish.seeds}
        for network, rule in lines
        for activation in ACTIVATIONS
    ]
    rows = measure_all(keys, measure, wish)
    show({"benchmark": "init_spread", "machine": machine(), **time_taken(rows), "rows": rows})
    chosen = [
        spread(network, rule, [r for r in rows if (r["network"], r["rule"]) == (network, rule)])
        for network, rule in lines
    ]
    print(format_table(chosen, markdown=True))
    if wish.table:
        include(wish.table, Path(__file__).name, format_table(chosen, markdown=True))


if __name__ == "__main__":
    main()
