"""Over depth or width: what grows, what vanishes, and what one optimiser step does."""

import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from isometry._checks import check_integer, check_real, shown
from isometry._result import Drawn, Result, format_table
from isometry._typing import Checked, Integer, Real
from isometry.nn.diagnosis.cumulants import cumulants
from isometry.nn.roles.follow import followed
from isometry.nn.roles.graph import Graph
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
        remarks: Why a quantity has no exponent: it is 0, or was not measured and is NaN.
    """

    over: Literal["depth", "width"]
    sizes: tuple[int, ...]
    values: dict[str, tuple[float, ...]] = field(hash=False)
    exponents: tuple[Exponent, ...]
    remarks: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per size; None stands for what was not measured."""
        return [
            {self.over: size}
            | {n: None if math.isnan(values[i]) else values[i] for n, values in self.values.items()}
            for i, size in enumerate(self.sizes)
        ]

    def exponent(self, quantity: str) -> Exponent | None:
        """Return the exponent of one quantity; None where it has none.

        Args:
            quantity: Its name, a column of the table.
        """
        return next((e for e in self.exponents if e.quantity == quantity), None)

    def __str__(self) -> str:
        said = [f"- {text}" for text in (*(e.verdict for e in self.exponents), *self.remarks)]
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
        TypeError: If what ``make`` returns is no module, ``make`` no function, or the sizes or the
            input are of another type.
        ValueError: If there are fewer than 3 sizes, no input, or ``make`` returns one model twice
            or weights that are on the meta device or not finite.

    Notes:
        What a model does not have is left out and said: c without residual blocks or with a matrix
        for a skip, a step where nothing is trained or the output is 0.

        Cost: at every size about 2 + 16 forward-backward passes, most of them for c. The models are
        trained for a step and thrown away; the global random state decides how ``make`` draws.
    """
    over: Literal["depth", "width"] = "depth" if widths is None else "width"
    sizes = _sizes(over, depths if widths is None else widths)
    step = check_real("lr", lr, above=0.0)
    if not callable(make):
        raise TypeError(f"`make` is {shown(make)}; expected a function of the {over}.")
    if x is None:
        raise ValueError("`x` is missing; expected an input, or a function of the size.")
    seed = seed_from(generator_or_fresh(generator))
    seen: weakref.WeakSet[nn.Module] = weakref.WeakSet()
    rows = [
        _measured(_fresh(make(size), seen), x(size) if callable(x) else x, step, seed)
        for size in sizes
    ]
    values = {name: tuple(row[name][0] for row in rows) for name in _QUANTITIES}
    fitted = [
        _exponent(name, sizes, found, over)
        for name, found in values.items()
        if all(v > 0 and math.isfinite(v) for v in found)
    ]
    left = [name for name in _QUANTITIES if name not in {e.quantity for e in fitted}]
    remarks = [_remark(name, sizes, [row[name] for row in rows], over) for name in left]
    return DepthCheck(over, sizes, values, tuple(fitted), tuple(remarks))


def _sizes(over: str, given: object) -> tuple[int, ...]:
    """Return the sizes to try.

    Raises:
        TypeError: If they are no integers.
        ValueError: If there are fewer than three.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, (Iterable, type(None))):
        raise TypeError(f"`{over}s` is {shown(given)}; expected integers, e.g. (4, 8, 16).")
    sizes = tuple(check_integer(over, size, minimum=1) for size in given or ())
    if len(set(sizes)) < 3:
        raise ValueError(f"`{over}s` has {len(set(sizes))} sizes; expected at least 3 for a slope.")
    return sizes


def _fresh(model: object, seen: "weakref.WeakSet[nn.Module]") -> nn.Module:
    """Return what was made, in eval mode, if it can be measured and was not before.

    Raises:
        TypeError: If it is no module.
        ValueError: If it was trained for a step already, or has weights without finite values.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"`make` returns a {type(model).__name__}; expected a freshly made torch.nn.Module."
        )
    if model in seen:
        raise ValueError(
            "`make` returns one model twice, which a step has changed; expected a freshly made one "
            "at every size. Build it inside `make`."
        )
    seen.add(model)
    known = [(name, p) for name, p in model.named_parameters() if not is_lazy(p)]
    meta = [name for name, p in known if p.is_meta]
    if meta:
        raise ValueError(
            f"`make` returns a model with {meta[0]!r} on the meta device, without values; expected "
            "weights in memory. Build it outside `torch.device('meta')`."
        )
    wrong = [name for name, p in known if not torch.isfinite(p).all()]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ValueError(
            f"`make` returns a model with NaN or infinite weights in {wrong[0]!r}{more}; expected "
            "finite numbers. Initialise it inside `make`."
        )
    return model.eval()


def _measured(model: nn.Module, x: Any, lr: float, seed: int) -> dict[str, tuple[float, str]]:
    """Return the quantities of one model, with the reason of one that is not; the step is last."""
    source = torch.Generator().manual_seed(seed)
    growth = _growth(followed(model, x).graph)
    specimen = Specimen.of(model, x)
    found, reason = cumulants(specimen, source)
    c = math.nan if reason else math.fsum(max(part, 0.0) for part in found)
    point = specimen.point.clone().requires_grad_()
    reached = specimen(point)
    target = torch.randn(reached.shape, generator=source).to(reached)
    slope = None
    if reached.requires_grad:
        (slope,) = torch.autograd.grad(_loss(reached, target), point, allow_unused=True)
    size = 0.0 if slope is None else float(slope.norm())
    why = "the output does not depend on the input to first order, as behind a head of zeros"
    gradient = (size, why if size == 0 else "")
    step = _stepped(model, specimen, lr, target)
    return {"c": (c, reason), "stream growth": growth, "gradient": gradient, "step": step}


def _growth(graph: Graph | None) -> tuple[float, str]:
    """Return the stream's last root mean square over its first, or why there is none."""
    sums = [] if graph is None else [graph.nodes[a].rms for a in graph.additions]
    if len(sums) < 2:
        return math.nan, "the pass has fewer than two residual additions"
    if sums[0] == 0:
        return math.nan, "the stream is 0 behind its first residual addition"
    return sums[-1] / sums[0], ""


def _remark(name: str, sizes: Sequence[int], found: Sequence[tuple[float, str]], over: str) -> str:
    """Return why a quantity has no exponent."""
    off = [(size, *each) for size, each in zip(sizes, found, strict=True) if not each[0] > 0]
    off = off or [(size, *each) for size, each in zip(sizes, found, strict=True)]
    _, value, reason = off[0]
    word = "is 0" if value == 0 else "was not measured"
    if value != 0 and not reason:
        word, reason = "is not finite", "numbers overflow on the way"
    where = "" if len(off) == len(sizes) else f" at {over} {', '.join(str(s) for s, *_ in off)}"
    return f"{name} {word}{where}{': ' * bool(reason)}{reason}."


def _loss(output: Tensor, target: Tensor) -> Tensor:
    """Return a loss of size 1 for an output and a random target of size 1."""
    return (output * target).mean() * math.sqrt(output.numel())


def _stepped(model: nn.Module, specimen: Specimen, lr: float, target: Tensor) -> tuple[float, str]:
    """Return the output's relative change by one step of Adam on all parameters, or why not."""
    held = specimen.point if specimen.ids is None else specimen.ids

    def output() -> Tensor:
        return check_output(picked(specimen.arguments.call(model, held.clone()), specimen.output))

    before = output()
    trained = [p for p in model.parameters() if p.requires_grad]
    if not (trained and before.requires_grad):
        return math.nan, "no parameter that requires a gradient reaches the output"
    size = float(before.detach().norm())
    if size == 0:
        return math.nan, "the output is 0, as of a head of zeros, so nothing is relative to it"
    model.zero_grad()
    _loss(before, target).backward()
    torch.optim.Adam(trained, lr=lr).step()
    with torch.no_grad():
        moved = output() - before.detach()
    return float(moved.norm()) / size, ""


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
