r"""The data route: scale the end of every branch until each block has its share of c.

A branch Jacobian X with traces t, v, k at skip a contributes (v + k) / (a + t)^2; with its last
linear map times g it contributes g^2 (v + k) / (a + g t)^2, which is solved for g. Later blocks
see a changed input, so all blocks are measured again, with the same probes, and corrected.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from isometry.errors import ConvergenceError
from isometry.nn._changes import Change, Draw, layout, parameters_of, vanishing
from isometry.nn._plan import InitPlan, PlannedBlock
from isometry.nn._search import Search
from isometry.nn._subject import Subject, handles
from isometry.nn.blocks import Block
from isometry.nn.traces import BlockTraces

_ROUGH, _SHARP = (3, 7), (12, 3)
"""Probes per block and measurements at most, first to get there and then to land."""
_SMALL_GAIN = 1e-4
"""A gain up to this is as good as off: rounding of the skip hides the branch."""


@dataclass(frozen=True)
class Lever:
    """The parameters that set one block's c, and why these."""

    names: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Redraw:
    """What replaces weights that cannot be scaled; ``scheme`` None refuses them."""

    scheme: str | None
    seed: int


def fit(
    subject: Subject, targets: Sequence[float], blocks: list[Block], redraw: Redraw, rtol: float
) -> InitPlan:
    """Return the plan under which every block has its target.

    Raises:
        ConvergenceError: If a block is not within ``rtol`` after the last measurement.
        ValueError: If a block cannot be scaled to its target.
    """
    state = _State(subject, targets, blocks, redraw)
    before = [trace.c for trace in state.traces]
    if state.changes:
        state.measure(_ROUGH[0], again=True)
    for probes, most in (_ROUGH, _SHARP):
        _settle(state, probes, most, rtol)
    rows = [
        PlannedBlock(t.name, c, t.c, target, lever.names, factor, lever.why)
        for t, c, target, lever, factor in zip(
            state.traces, before, targets, state.levers, state.factors, strict=True
        )
    ]
    kept = {name: change.kept() for name, change in state.changes.items()}
    return InitPlan(math.fsum(targets), "data", tuple(rows), state.passes, kept)


class _State:
    """Where the fit stands: the blocks under the changes made so far, and their traces."""

    def __init__(
        self, subject: Subject, targets: Sequence[float], blocks: list[Block], redraw: Redraw
    ) -> None:
        self.subject, self.targets, self.blocks = subject, targets, blocks
        self.changes: dict[str, Change] = {}
        terms = handles(blocks, subject.root)
        self.levers = [
            _lever(block, names, subject.root, redraw, self.changes)
            for block, names in zip(blocks, terms, strict=True)
        ]
        self.groups = _groups(self.levers)
        self.factors = [1.0] * len(blocks)
        self.passes = 0
        self.measure(_ROUGH[0])

    def measure(self, probes: int, *, again: bool = False) -> None:
        """Take the traces; ``again`` records the model anew, under the changes."""
        if again:
            self.blocks = self.subject.found(self.changes)
        self.traces = self.subject.traces(self.blocks, probes)
        self.passes += 1

    def scale(self, factors: Sequence[float]) -> None:
        """Multiply each group's branches by its factor."""
        for group, g in zip(self.groups, factors, strict=True):
            for i in group:
                self.factors[i] *= g
            for name in dict.fromkeys(n for i in group for n in self.levers[i].names):
                self.changes[name] = _change(self.changes, name, self.subject.root).times(g)


def _settle(state: _State, probes: int, most: int, rtol: float) -> None:
    """Measure and correct until every block is within ``rtol``.

    Raises:
        ConvergenceError: If ``most`` measurements are not enough.
        ValueError: If a block cannot be scaled to its target.
    """
    search = Search(state.targets, state.groups)
    if probes != _ROUGH[0]:
        state.measure(probes)
    for _ in range(most):
        if _residual(state.groups, state.traces, state.targets) <= rtol:
            return
        bare = [
            _factor([state.traces[i] for i in q], [state.targets[i] for i in q])
            for q in state.groups
        ]
        state.scale(search.factors([t.c for t in state.traces], bare))
        state.measure(probes, again=True)
    if _residual(state.groups, state.traces, state.targets) > rtol:
        raise ConvergenceError(_not_converged(state.groups, state.traces, state.targets, rtol))


def _change(changes: Mapping[str, Change], name: str, root: nn.Module) -> Change:
    known = changes.get(name)
    return Change(parameters_of(root)[name].detach()) if known is None else known


def _lever(
    block: Block,
    terms: Sequence[tuple[str, ...]],
    root: nn.Module,
    redraw: Redraw,
    changes: dict[str, Change],
) -> Lever:
    """Choose what scales a block; what cannot be scaled is set or drawn anew in ``changes``.

    Raises:
        ValueError: If it cannot be scaled and must not be redrawn.
    """
    chosen, reasons = [], []
    for names in terms:
        roles = {name: block.parameters.get(name, "linear") for name in names}
        dead = [name for name in names if _off(parameters_of(root)[name], roles[name])]
        if dead and redraw.scheme is None:
            raise ValueError(
                f"`model` has {dead[0]!r} at {_size(parameters_of(root)[dead[0]])} at the end of "
                f"block {block.name!r}; expected weights that can be scaled. Pass "
                "`redraw=True` to set gains to 1 and draw weights anew before they are scaled."
            )
        for name in dead:
            changes.setdefault(name, _fresh(name, roles[name], root, redraw))
        name, why = _nearest(names, roles)
        chosen.append(name)
        reasons.append(f"{why}, {'redrawn' if name in dead else 'scaled'}")
    return Lever(tuple(dict.fromkeys(chosen)), "; ".join(dict.fromkeys(reasons)))


def _nearest(names: Sequence[str], roles: Mapping[str, str]) -> tuple[str, str]:
    """Return the parameter nearest to the branch's end that scales it, and what it is.

    Raises:
        ValueError: If it is computed by a parametrisation other than weight normalisation.
    """
    words = {"gain": "gain of the branch", "norm": "weight of its last norm"}
    for name in names:
        if roles[name] != "reparametrised":
            return name, words.get(roles[name], "last linear map")
        if name.endswith(("weight.original0", "weight_g")):
            return name, "magnitude of its last linear map"
    raise ValueError(
        f"`model` computes a weight from {names[0]!r} by a parametrisation; expected a weight "
        "that can be scaled. Remove it with "
        "`torch.nn.utils.parametrize.remove_parametrizations` and add it again afterwards."
    )


def _off(parameter: Tensor, role: str) -> bool:
    return vanishing(parameter, _SMALL_GAIN if role == "gain" else 0.0)


def _size(parameter: Tensor) -> str:
    return f"{float(parameter.detach().abs().max()):g}"


def _fresh(name: str, role: str, root: nn.Module, redraw: Redraw) -> Change:
    if role in ("gain", "norm"):
        return Change(1.0)
    fan_in, _, transposed = layout(root)[name]
    return Change(Draw(redraw.scheme or "normal", fan_in**-0.5, redraw.seed, transposed))


def _groups(levers: Sequence[Lever]) -> list[list[int]]:
    """Return the blocks in groups that share a parameter: those are scaled as one."""
    groups: list[tuple[set[str], list[int]]] = []
    for index, lever in enumerate(levers):
        names, members = set(lever.names), [index]
        for group in [g for g in groups if g[0] & names]:
            groups.remove(group)
            names |= group[0]
            members = group[1] + members
        groups.append((names, members))
    return [members for _, members in groups]


def _residual(
    groups: Sequence[Sequence[int]], traces: Sequence[BlockTraces], targets: Sequence[float]
) -> float:
    return max(_distance(group, traces, targets) for group in groups)


def _distance(
    group: Sequence[int], traces: Sequence[BlockTraces], targets: Sequence[float]
) -> float:
    return abs(math.fsum(traces[i].c for i in group) / math.fsum(targets[i] for i in group) - 1)


def _factor(traces: Sequence[BlockTraces], targets: Sequence[float]) -> float:
    """Return what the branches must be multiplied by.

    Raises:
        ValueError: If no factor gives the target.
    """
    first, target = traces[0], math.fsum(targets)
    spread = math.fsum(t.v + t.k for t in traces)
    noise = math.fsum(t.standard_error["v"] + t.standard_error["k"] for t in traces)
    if spread <= noise:
        raise ValueError(
            f"`c` asks for {target:.3g} from block {first.name!r}, whose branch Jacobian gives "
            f"{spread:.2g} at any scale (it is 0 or skew-symmetric); expected a branch with a "
            "symmetric part. Leave it out with `blocks=`, or draw its weights anew."
        )
    if len(traces) > 1:
        return math.sqrt(target / math.fsum(t.c for t in traces))
    skip, drift = abs(first.skip), math.copysign(1.0, first.skip) * first.t
    room = math.sqrt(spread) - drift * math.sqrt(target)
    if room <= 0:
        raise ValueError(
            f"`c` asks for {target:.3g} from block {first.name!r}, whose branch drifts along the "
            f"skip and reaches less than {spread / drift**2:.3g} at any scale; expected a smaller "
            "c for it. Lower `c`, or its share."
        )
    return skip * math.sqrt(target) / room


def _not_converged(
    groups: Sequence[Sequence[int]],
    traces: Sequence[BlockTraces],
    targets: Sequence[float],
    rtol: float,
) -> str:
    worst = max(groups, key=lambda group: _distance(group, traces, targets))
    trace, target = traces[worst[0]], targets[worst[0]]
    return (
        f"`c` is not reached after {_ROUGH[1]} corrections: block {trace.name!r} has "
        f"{trace.c:.3g}; expected {target:.3g} within {rtol:.2g}. A normalisation behind it may "
        "undo its scale, or its activation saturates: lower `c`, change the biases, or raise "
        "`rtol`."
    )
