"""Over depth or width: what grows, what vanishes, and what one optimiser step does."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from isometry._checks import check_integer, check_real
from isometry._result import Drawn, Result, format_table
from isometry._typing import Checked, Integer, Real
from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.traces import block_traces
from isometry.nn.roles.follow import followed
from isometry.nn.sandbox._typing import Generator, ModelInput
from isometry.nn.sandbox.checks import check_output
from isometry.nn.sandbox.inputs import picked
from isometry.nn.sandbox.random import generator_or_fresh, seed_from
from isometry.nn.sandbox.specimen import Specimen

_QUANTITIES = ("c", "stream growth", "gradient", "step")
_NEAR = 0.1
"""How near a power an exponent lies that is called by it, beside two standard errors."""
_UNCERTAIN = 0.25
"""Standard error of an exponent from which no power is told: half the step between two of them."""
_WORDS = ((0.0, "1"), (0.5, "sqrt({})"), (1.0, "{}"), (1.5, "{}^1.5"), (2.0, "{}^2"))


@dataclass(frozen=True)
class Exponent(Result):
    """How one quantity follows depth or width.

    Attributes:
        quantity: Its name.
        exponent: Slope of its logarithm over that of the size.
        standard_error: Of the slope, from the scatter about the line.
        verdict: In words.
    """

    quantity: str
    exponent: float
    standard_error: float
    verdict: str


@dataclass(frozen=True)
class DepthCheck(Result, Drawn):
    """What :func:`depth_check` found; ``print`` it, or ``plot()`` it: each quantity by its line.

    Attributes:
        over: ``"depth"`` or ``"width"``.
        sizes: The depths or widths.
        values: {quantity: its value at every size}.
        exponents: One for every quantity that is above 0 at all sizes.
    """

    over: Literal["depth", "width"]
    sizes: tuple[int, ...]
    values: dict[str, tuple[float, ...]] = field(hash=False)
    exponents: tuple[Exponent, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per size."""
        return [
            {self.over: size} | {name: values[i] for name, values in self.values.items()}
            for i, size in enumerate(self.sizes)
        ]

    def exponent(self, quantity: str) -> Exponent | None:
        """Return the exponent of one quantity; None where it has none.

        Args:
            quantity: Its name, a column of the table.
        """
        return next((e for e in self.exponents if e.quantity == quantity), None)

    def __str__(self) -> str:
        said = [f"- {e.verdict}" for e in self.exponents]
        return "\n\n".join([format_table(self.rows()), "\n".join(said)])

    def _draw(self, room: Any, ax: Any) -> None:
        series = {e.quantity: (self.values[e.quantity], e.exponent) for e in self.exponents}
        room.plot_powers(ax, self.sizes, series, across=self.over)


def depth_check(
    make: Checked[Callable[[int], nn.Module]],
    depths: Checked[Sequence[Integer] | None] = (4, 8, 16, 32),
    x: Checked[ModelInput | Callable[[int], ModelInput]] = None,
    *,
    widths: Checked[Sequence[Integer] | None] = None,
    lr: Real = 1e-3,
    generator: Generator = None,
) -> DepthCheck:
    """Measure c, stream growth, gradients and one Adam step over depth, or over width.

    Args:
        make: A function of the depth (or width) that returns a freshly initialised module.
        depths: Depths to try, at least 3.
        x: The input as the model takes it, token ids as they are, a tuple or dictionary of inputs;
            or a function of the size that returns it.
        widths: Widths to try in place of depths.
        lr: Learning rate of the one step.
        generator: Source of probes and targets; without one `torch.manual_seed` decides.

    Returns:
        The values, their exponents with errors, and a verdict each: "c", the sum over the blocks;
        "stream growth", the root mean square behind the last residual addition over that behind the
        first; "gradient", the norm of the gradient of a normalised loss at the input (for token ids
        at what the model first makes of them); "step", the root mean square change of the output,
        over its own, by one step of Adam on all parameters.

    Raises:
        TypeError: If what ``make`` returns is no module.
        ValueError: If there are fewer than 3 sizes, or no input.

    Notes:
        Cost: at every size about 2 + 16 forward-backward passes, most of them for c. The models are
        trained for a step and thrown away; the global random state decides how ``make`` draws.
    """
    over: Literal["depth", "width"] = "depth" if widths is None else "width"
    given = depths if widths is None else widths
    sizes = tuple(check_integer(over, size, minimum=1) for size in given or ())
    step = check_real("lr", lr, above=0.0)
    if len(set(sizes)) < 3:
        raise ValueError(f"`{over}s` has {len(set(sizes))} sizes; expected at least 3 for a slope.")
    if x is None:
        raise ValueError("`x` is missing; expected an input, or a function of the size.")
    seed = seed_from(generator_or_fresh(generator))
    rows = [_measured(make(size), x(size) if callable(x) else x, step, seed) for size in sizes]
    values = {name: tuple(row[name] for row in rows) for name in _QUANTITIES}
    fitted = [
        _exponent(name, sizes, found, over)
        for name, found in values.items()
        if all(v > 0 and math.isfinite(v) for v in found)
    ]
    return DepthCheck(over, sizes, values, tuple(fitted))


def _measured(model: Any, x: Any, lr: float, seed: int) -> dict[str, float]:
    """Return the four quantities of one model; the step is taken last.

    Raises:
        TypeError: If it is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"`make` returns a {type(model).__name__}; expected a freshly made torch.nn.Module."
        )
    model.eval()
    source = torch.Generator().manual_seed(seed)
    graph = followed(model, x).graph
    sums = [] if graph is None else [graph.nodes[a].rms for a in graph.additions]
    growth = sums[-1] / sums[0] if len(sums) > 1 and sums[0] > 0 else math.nan
    specimen = Specimen.of(model, x)
    traces = block_traces(residual_blocks(model, x), generator=source)
    c = math.fsum(max(trace.c, 0.0) for trace in traces)
    point = specimen.point.clone().requires_grad_()
    reached = specimen(point)
    target = torch.randn(reached.shape, generator=source).to(reached)
    (slope,) = torch.autograd.grad(_loss(reached, target), point, allow_unused=True)
    gradient = 0.0 if slope is None else float(slope.norm())
    change = _stepped(model, specimen, lr, target)
    return {"c": c, "stream growth": growth, "gradient": gradient, "step": change}


def _loss(output: Tensor, target: Tensor) -> Tensor:
    """Return a loss of size 1 for an output and a random target of size 1."""
    return (output * target).mean() * math.sqrt(output.numel())


def _stepped(model: nn.Module, specimen: Specimen, lr: float, target: Tensor) -> float:
    """Return the output's relative change by one step of Adam on all parameters."""
    held = specimen.point if specimen.ids is None else specimen.ids

    def output() -> Tensor:
        return check_output(picked(specimen.arguments.call(model, held.clone()), specimen.output))

    before = output()
    model.zero_grad()
    _loss(before, target).backward()
    torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr).step()
    with torch.no_grad():
        moved = output() - before.detach()
    return float(moved.norm() / before.detach().norm())


def _exponent(
    name: str, sizes: Sequence[int], values: Sequence[float], over: Literal["depth", "width"]
) -> Exponent:
    xs, ys = [math.log(s) for s in sizes], [math.log(v) for v in values]
    count, middle, level = len(xs), math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((a - middle) ** 2 for a in xs)
    slope = math.fsum((a - middle) * (y - level) for a, y in zip(xs, ys, strict=True)) / spread
    rest = math.fsum((y - level - slope * (a - middle)) ** 2 for a, y in zip(xs, ys, strict=True))
    error = math.sqrt(rest / (count - 2) / spread)
    return Exponent(
        name, slope, error, _verdict(name, slope, error, "L" if over == "depth" else "N")
    )


def _verdict(name: str, slope: float, error: float, size: str) -> str:
    number = f"exponent {slope:.2f} ± {error:.2f} in {size}"
    if error > _UNCERTAIN:
        return f"{name} follows no power that these sizes tell: {number}."
    power, word = min(_WORDS, key=lambda known: abs(known[0] - abs(slope)))
    told = word.format(size)
    if abs(power - abs(slope)) > max(_NEAR, 2 * error):
        told = f"{size}^{abs(slope):.2f}"
    elif power == 0:
        return f"{name} is flat: {number}."
    return f"{name} {'grows as' if slope > 0 else 'falls as 1 /'} {told}: {number}."
