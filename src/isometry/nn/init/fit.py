r"""The data route: scale the end of every branch until each block has its share of c.

A branch Jacobian X with traces t, v, k at skip a contributes (v + k) / (a + t)^2; with its last
linear map times g it contributes g^2 (v + k) / (a + g t)^2, which is solved for g. Later blocks
see a changed input, so every pass corrects the blocks while it runs: each is measured, always with
the same probes, at the input that the corrected blocks before it give.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from torch import Tensor, nn

from isometry.errors import ConvergenceError
from isometry.nn.blocks.blocks import Block
from isometry.nn.blocks.graph import Vertex
from isometry.nn.blocks.segment import Segment
from isometry.nn.blocks.traces import BlockTraces
from isometry.nn.init.changes import Change, Draw, layout, parameters_of, vanishing
from isometry.nn.init.copies import copies, linear_maps
from isometry.nn.init.plans import InitPlan, PlannedBlock
from isometry.nn.init.search import Search
from isometry.nn.init.steering import DivergedError
from isometry.nn.init.subject import Charted, Subject, handles

_PASSES = 5
"""Passes over all blocks at most, the first to see what is there and the last to confirm."""
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
    subject: Subject, charted: Charted, targets: Sequence[float], redraw: Redraw, rtol: float
) -> InitPlan:
    """Return the plan under which every block has its target.

    Raises:
        ConvergenceError: If a block is not within ``rtol`` in the last pass.
        ValueError: If a block cannot be scaled to its target.
    """
    state = _State(subject, charted, targets, redraw, rtol)
    before = [state.traces[i].c for i in range(len(targets))]
    while not state.settled and state.passes < _PASSES:
        state.sweep()
    if not state.settled:
        raise ConvergenceError(_not_converged(state, rtol))
    rows = [
        PlannedBlock(state.traces[i].name, c, state.traces[i].c, target, names, factor, why)
        for i, (c, target, (names, why), factor) in enumerate(
            zip(before, targets, map(astuple, state.levers), state.factors, strict=True)
        )
    ]
    kept = {name: change.kept() for name, change in state.changes.items()}
    return InitPlan(math.fsum(targets), "data", tuple(rows), state.passes, kept)


class _State:
    """Where the fit stands: the changes made so far, and what the blocks have under them."""

    def __init__(
        self,
        subject: Subject,
        charted: Charted,
        targets: Sequence[float],
        redraw: Redraw,
        rtol: float,
    ) -> None:
        self.subject, self.targets, self.rtol = subject, targets, rtol
        self.changes: dict[str, Change] = {}
        self.blocks, self.chart = charted
        if redraw.scheme is not None:
            for index in copies(self.blocks, subject.root):
                name = linear_maps(self.blocks[index])[0]
                self.changes[name] = _fresh(name, "linear", subject.root, redraw)
        terms = handles(self.blocks, subject.root)
        self.levers = [
            _lever(block, names, subject.root, redraw, self.changes)
            for block, names in zip(self.blocks, terms, strict=True)
        ]
        self.groups = _groups(self.levers)
        self.search = Search()
        self.factors = [1.0] * len(self.blocks)
        self.traces = {block.index: subject.trace(block) for block in self.blocks}
        self.passes = 1
        self.settled = not self.changes and all(d <= rtol for d in map(self.distance, self.groups))
        if not self.changes and not self.settled:  # what is drawn anew is not measured yet
            for q in range(len(self.groups)):
                self._see(q, math.nan)
                self._correct(q)

    def distance(self, group: Sequence[int]) -> float:
        """Return how far the blocks of a group are together from their target, relative to it."""
        found = math.fsum(self.traces[i].c for i in group)
        return abs(found / math.fsum(self.targets[i] for i in group) - 1)

    def sweep(self) -> None:
        """Measure all blocks in order and, from the first one that is off, correct them.

        Every block is measured under the corrections of those before it; where the pass cannot
        be steered, under those of the passes before.
        """
        self.settled = True
        try:
            self.subject.steer(self.changes, self.chart, self._visit)
        except DivergedError:
            self.blocks, self.chart = self.subject.charted(self.changes)
            self.settled = True
            for block in self.blocks:
                self._visit(block.index, block.segment.source, block.segment.target, math.nan)
        self.passes += 1

    def _visit(
        self, index: int, source: Vertex, target: Vertex, size: float
    ) -> dict[int, Tensor] | None:
        """Measure a block and correct its group once that is complete; return new parameters."""
        block = self.blocks[index]
        here = replace(block, segment=Segment(source, target, block.segment.ranks))
        self.traces[index] = self.subject.trace(here)
        q = next(q for q, group in enumerate(self.groups) if index in group)
        if index != self.groups[q][-1]:
            return None
        self._see(q, size)
        self.settled = self.settled and self.distance(self.groups[q]) <= self.rtol
        if self.settled:
            return None
        g = self._correct(q)
        known = parameters_of(self.subject.root)
        return {id(known[n]): g * known[n].detach() for n in self.levers[index].names}

    def _see(self, q: int, size: float) -> None:
        group = self.groups[q]
        c = math.fsum(self.traces[i].c for i in group)
        if c > 0:
            self.search.see(q, c, size, self.factors[group[0]])

    def _correct(self, q: int) -> float:
        """Scale the branches of a group towards their target and return the factor."""
        group = self.groups[q]
        bare = _factor([self.traces[i] for i in group], [self.targets[i] for i in group])
        g = self.search.factor(q, bare)
        for i in group:
            self.factors[i] *= g
        for name in dict.fromkeys(n for i in group for n in self.levers[i].names):
            self.changes[name] = _change(self.changes, name, self.subject.root).times(g)
        return g


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
        reasons.append(f"{why}, {'redrawn' if name in changes else 'scaled'}")
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
    return sorted(sorted(members) for _, members in groups)


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


def _not_converged(state: _State, rtol: float) -> str:
    worst = max(state.groups, key=state.distance)[0]
    return (
        f"`c` is not reached in {_PASSES} passes: block {state.traces[worst].name!r} has "
        f"{state.traces[worst].c:.3g}; expected {state.targets[worst]:.3g} within {rtol:.2g}. A "
        "normalisation behind it may undo its scale, or its activation saturates: lower `c`, "
        "change the biases, or raise `rtol`."
    )
