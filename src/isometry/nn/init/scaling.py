"""Which parameters scale a residual branch, and what becomes of those that are off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from isometry.nn.blocks.blocks import Block
from isometry.nn.blocks.uses import LinearMap
from isometry.nn.init.changes import Change, Draw, parameters_of, plain_name, vanishing

_SMALL_GAIN = 1e-4
"""A gain up to this is as good as off: rounding of the skip hides the branch."""


@dataclass(frozen=True)
class Scaling:
    """The parameters that set one block's c, and why these."""

    names: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Redraw:
    """What replaces weights that cannot be scaled; ``scheme`` None refuses them."""

    scheme: str | None
    seed: int
    maps: Mapping[str, LinearMap]


def scaling_of(
    block: Block,
    terms: Sequence[tuple[str, ...]],
    root: nn.Module,
    redraw: Redraw,
    changes: dict[str, Change],
) -> Scaling:
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
            changes.setdefault(name, redrawn(name, roles[name], redraw))
        name, why = _nearest(names, roles)
        chosen.append(name)
        reasons.append(f"{why}, {'redrawn' if name in changes else 'scaled'}")
    return Scaling(tuple(dict.fromkeys(chosen)), "; ".join(dict.fromkeys(reasons)))


def redrawn(name: str, role: str, redraw: Redraw) -> Change:
    """Return what a parameter that is off becomes: a gain 1, a weight a draw."""
    if role in ("gain", "norm"):
        return Change(1.0)
    described = redraw.maps[name]
    return Change(
        Draw.of(described, redraw.scheme or "normal", described.fan_in**-0.5, redraw.seed)
    )


def groups_of(scalings: Sequence[Scaling]) -> list[list[int]]:
    """Return the blocks in groups that share a parameter: those are scaled as one."""
    groups: list[tuple[set[str], list[int]]] = []
    for index, scaling in enumerate(scalings):
        names, members = set(scaling.names), [index]
        for group in [g for g in groups if g[0] & names]:
            groups.remove(group)
            names |= group[0]
            members = group[1] + members
        groups.append((names, members))
    return sorted(sorted(members) for _, members in groups)


def candidates(blocks: Sequence[Block], root: nn.Module) -> list[list[tuple[str, ...]]]:
    """Return for each block and each term of its branch the parameters that scale it.

    Raises:
        ValueError: If a term has none, or one that is out of reach.
    """
    known = parameters_of(root)
    found = []
    for block in blocks:
        terms = [tuple(map(plain_name, names)) for names in block.last] or [()]
        for names in terms:
            if not names:
                raise ValueError(
                    f"`model` has no linear map or gain at the end of the branch of block "
                    f"{block.name!r}; expected a parameter that scales it. Add a linear map, or "
                    "leave the block out with `blocks=`."
                )
            for name in names:
                if name not in known:
                    raise ValueError(
                        f"`model` uses {name!r}, which is not among its own parameters; expected "
                        "one module that holds all. Register the modules that it calls."
                    )
        found.append(terms)
    return found


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
