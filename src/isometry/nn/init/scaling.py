"""Which parameters scale a residual branch: chosen by structure, tried out in a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from isometry.nn.blocks.blocks import Block
from isometry.nn.init.changes import Change, Draw, vanishing
from isometry.nn.init.refusals import (
    cannot_scale,
    closed_map,
    fixed_size,
    no_parameter,
    unknown_parameter,
)
from isometry.nn.init.trial import Trial, Unit
from isometry.nn.roles.uses import WeightMap
from isometry.nn.sandbox.unwrap import plain_parameters

_SMALL_GAIN = 1e-4
"""A gain up to this is as good as off: rounding of the skip hides the branch."""
_LEAST_POWER = 0.1
"""Power of two by which a branch grows at least when what scales it doubles."""
_LEAST_ANSWER = 0.05
"""Relative change of c that counts as an answer where the branch itself hardly grows."""
_LINEAR = (0.35, 1.5)
"""Powers between which the formula of a linear branch, and its correction, get there in time."""
_INSIDE = ("linear", "reparametrised", "other", "gain", "norm")


@dataclass(frozen=True)
class Scaling:
    """The parameters that set one block's c, and why these."""

    units: tuple[Unit, ...]
    why: str
    solved: bool = False
    """Whether the factor has to be searched for: the branch is not linear in these."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(dict.fromkeys(unit.name for unit in self.units))


@dataclass(frozen=True)
class Redraw:
    """What replaces weights that cannot be scaled; ``scheme`` None refuses them."""

    scheme: str | None
    seed: int
    maps: Mapping[str, WeightMap]

    def draw(self, name: str) -> Change:
        """Return the draw of a linear map at variance 1 / fan_in.

        Raises:
            ValueError: If the parameter is not seen to be one.
        """
        described = self.maps.get(name)
        if described is None:
            raise ValueError(cannot_scale(name))
        std = described.fan_in**-0.5
        return Change(Draw.of(described, self.scheme or "normal", std, self.seed))


@dataclass(frozen=True)
class Choice:
    """What all blocks' choices share: the model's parameters, what is set or drawn anew so far."""

    root: nn.Module
    redraw: Redraw
    fresh: dict[str, Change] = field(default_factory=dict)

    def parameter(self, name: str) -> Tensor:
        """Return a parameter as the model holds it."""
        return plain_parameters(self.root)[name].detach()


def chosen(choice: Choice, block: Block, trial: Trial | None) -> Scaling:
    """Choose what scales a block; what is off is set or drawn anew where that is allowed.

    Raises:
        ValueError: If nothing scales the block, or it must be redrawn and that is not allowed.
    """
    terms, idle = _terms(choice, block)
    terms, unfed = _fed(choice, block, terms, trial)
    units, reasons = [], []
    for names in terms:
        roles = {name: block.parameters.get(name, "linear") for name in names}
        dead = [name for name in names if _off(choice.parameter(name), roles[name])]
        if dead and choice.redraw.scheme is None:
            raise ValueError(closed_map(block, dead[0], choice.parameter(dead[0])))
        for name in dead:
            choice.fresh.setdefault(name, redrawn(name, roles[name], choice.redraw))
        name = _nearest(choice, block, names, roles, None if dead else trial)
        units.append(Unit(name))
        done = "redrawn" if name in choice.fresh else "scaled"
        reasons.append(f"{_words(name, block.parameters.get(name, 'linear'))}, {done}")
    units = [Unit(name) for name in dict.fromkeys(unit.name for unit in units)]
    stays = [f"`{name}` is 0 and stays" for name in (*idle, *unfed)]
    why = "; ".join(dict.fromkeys([*reasons, *stays]))
    far = trial is not None and not trial.closed and _far_from_linear(trial, units)
    return Scaling(tuple(units), why, far)


def _far_from_linear(trial: Trial, units: Sequence[Unit]) -> bool:
    power = trial.doubled(units)[0]
    if power < _LINEAR[0]:  # it saturates, or a bias outweighs it, which its Jacobian does not see
        power = trial.change_doubled(units)
    return not _linear(power)


def _linear(power: float) -> bool:
    return _LINEAR[0] <= power <= _LINEAR[1]


def _terms(choice: Choice, block: Block) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return what scales each term of the branch by structure, and what is left at 0.

    A term that is 0 beside one that is not (an adapter that starts as nothing) is left alone.

    Raises:
        ValueError: If a parameter is not the model's own.
    """
    known = plain_parameters(choice.root)
    terms = list(block.last) or [()]
    for name in (name for names in terms for name in names):
        if name not in known:
            raise ValueError(unknown_parameter(name))
    zero = [[n for n in names if vanishing(known[n].detach(), 0.0)] for names in terms]
    live = [names for names, dead in zip(terms, zero, strict=True) if names and not dead]
    if live and len(live) < len(terms):
        return live, [name for dead in zero for name in dead]
    return terms, []


def _fed(
    choice: Choice, block: Block, terms: list[tuple[str, ...]], trial: Trial | None
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the terms that no map of zeros in front keeps at 0, and such maps.

    The adapter that starts as nothing once more, with its zeros in the first of its two maps.
    """
    known, ends = plain_parameters(choice.root), {name for names in terms for name in names}
    inner = [n for n, role in block.parameters.items() if role == "linear" and n not in ends]
    zeros = [n for n in inner if n in known and vanishing(known[n].detach(), 0.0)]
    if not zeros or len(terms) < 2 or trial is None or trial.closed:
        return terms, []
    fed = [names for names in terms if any(_answer(trial, n) != "nothing" for n in names)]
    return (fed, zeros) if 0 < len(fed) < len(terms) else (terms, [])


def zero_ends(choice: Choice, block: Block) -> bool:
    """Return whether a branch is 0 because of what it ends in."""
    known = plain_parameters(choice.root)
    ends = [(n, block.parameters.get(n, "linear")) for names in block.last for n in names]
    return any(name in known and _off(known[name].detach(), role) for name, role in ends)


def _nearest(
    choice: Choice,
    block: Block,
    names: Sequence[str],
    roles: Mapping[str, str],
    trial: Trial | None,
) -> str:
    """Return the parameter nearest to the branch's end that scales it and leaves the skip.

    Raises:
        ValueError: If there is none.
    """
    if trial is None or trial.closed:
        for name in names:
            if roles[name] != "reparametrised" or name.endswith(("weight.original0", "weight_g")):
                return name
        raise ValueError(fixed_size(choice.root, block, names[0]) if names else no_parameter(block))
    answers = {name: _answer(trial, name) for name in names}
    for name, answer in answers.items():
        if answer == "scales":
            return name
    if "nothing" in answers.values():
        first = next(name for name, answer in answers.items() if answer == "nothing")
        raise ValueError(fixed_size(choice.root, block, first, trial.traces().c))
    others = [n for n, what in block.parameters.items() if what in _INSIDE]
    for name in others:
        held = name in plain_parameters(choice.root) and name not in answers
        if held and _answer(trial, name) == "scales":
            return name
    raise ValueError(no_parameter(block))


def _answer(trial: Trial, name: str) -> str:
    """Return what doubling a parameter does: "scales", moves the "skip" as well, or "nothing"."""
    power, moves_skip = trial.doubled([Unit(name)])
    if moves_skip:
        return "skip"
    # A large constant part of the branch hides its growth; what changes and its Jacobian do not.
    if power >= _LEAST_POWER or _linear(trial.change_doubled([Unit(name)])):
        return "scales"
    before = trial.traces().c
    after = trial.traces(trial.with_factor([Unit(name)], 2.0)).c
    return "scales" if abs(after - before) > _LEAST_ANSWER * before else "nothing"


def _words(name: str, role: str) -> str:
    if name.endswith(("weight.original0", "weight_g")):
        return "magnitude of its last linear map"
    words = {"gain": "gain of the branch", "norm": "weight of its last norm"}
    return words.get(role, "last linear map")


def redrawn(name: str, role: str, redraw: Redraw) -> Change:
    """Return what a parameter that is off becomes: a gain 1, a weight a draw."""
    return Change(1.0) if role in ("gain", "norm") else redraw.draw(name)


def groups_of(scalings: Sequence[Scaling]) -> list[list[int]]:
    """Return the blocks in groups that share a parameter: those are scaled as one."""
    groups: list[tuple[list[Unit], list[int]]] = []
    for index, scaling in enumerate(scalings):
        units, members = list(scaling.units), [index]
        names = set(scaling.names)
        for group in [g for g in groups if names & {u.name for u in g[0]}]:
            if any(_overlap(a, b) for a in units for b in group[0]):
                groups.remove(group)
                units += group[0]
                members = group[1] + members
        groups.append((units, members))
    return sorted(sorted(members) for _, members in groups)


def _overlap(first: Unit, second: Unit) -> bool:
    if first.name != second.name:
        return False
    if first.part is None or second.part is None:
        return True
    return bool((first.part & second.part).any())


def candidates(blocks: Sequence[Block], root: nn.Module) -> list[list[tuple[str, ...]]]:
    """Return for each block and each term of its branch the parameters that scale it.

    Raises:
        ValueError: If a term has none, or one that is out of reach.
    """
    known = plain_parameters(root)
    found = []
    for block in blocks:
        terms = list(block.last) or [()]
        for names in terms:
            if not names:
                raise ValueError(no_parameter(block))
            for name in names:
                if name not in known:
                    raise ValueError(unknown_parameter(name))
        found.append(terms)
    return found


def _off(parameter: Tensor, role: str) -> bool:
    return vanishing(parameter, _SMALL_GAIN if role == "gain" else 0.0)
