"""Known recipes of initialisation as tables: which role is drawn by which law, and who says so.

A law is std = k fan_in^a fan_out^b (fan_in + fan_out)^s, times a factor for depth. Recipes whose k
is ``free`` fix the ratios between roles and not the overall size, which people scale by width.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from torch import Tensor

from isometry._checks import check_kind, check_real, shown, suggest
from isometry._result import Result
from isometry._typing import Checked
from isometry.nn.roles.parts import MAPS, Role

Depth = Literal["1", "1/sqrt(2L)", "1/sqrt(L)", "1/L", "1/(2L)", "1/sqrt(2(l+1))"]
"""Factors for depth: L is the number of layers, l the layer's own number from 0 on."""

DEPTHS = ("1", "1/sqrt(2L)", "1/sqrt(L)", "1/L", "1/(2L)", "1/sqrt(2(l+1))")
_DECADES = 30
"""Powers of ten on either side of 1 beyond which a standard deviation is a mistake of the table."""
_ROLES = tuple(role for role in get_args(Role) if role != "buffer")
_STANDS_FOR: dict[str, tuple[Role, ...]] = {
    "reader": ("gate", "inner", "map"),
    "embedding": ("position",),
}
"""A law of the first role holds for the others where they have none of their own."""


@dataclass(frozen=True)
class RoleLaw(Result):
    """How the entries of one role are drawn.

    Attributes:
        std: The constant k.
        fan_in: Power of fan_in.
        fan_out: Power of fan_out.
        fan_sum: Power of fan_in + fan_out.
        depth: Factor for depth.
        query: Whether queries are drawn smaller by 1/sqrt of a head's size.
        also: Constants that the sources of the recipe have in its place, which lint accepts.
    """

    std: float = 0.02
    fan_in: float = 0.0
    fan_out: float = 0.0
    fan_sum: float = 0.0
    depth: Depth = "1"
    query: bool = False
    also: tuple[float, ...] = ()

    def value(self, fans: tuple[int, int], layers: int, layer: int) -> float:
        """Return the standard deviation of a map in one of so many layers.

        Raises:
            ValueError: If it is so large or small that it is no scale of weights.
        """
        fan_in, fan_out = fans
        factors: dict[str, float] = {
            "1": 1.0,
            "1/sqrt(2L)": (2 * layers) ** -0.5,
            "1/sqrt(L)": layers**-0.5,
            "1/L": 1 / layers,
            "1/(2L)": 1 / (2 * layers),
            "1/sqrt(2(l+1))": (2 * (layer + 1)) ** -0.5,
        }
        powers = (fan_in, self.fan_in), (fan_out, self.fan_out), (fan_in + fan_out, self.fan_sum)
        terms = [power * math.log10(fan) for fan, power in powers]
        decades = math.log10(self.std) + sum(terms)
        if not abs(decades) <= _DECADES:
            raise ValueError(
                f"`recipe` gives a standard deviation of 10^{decades:.4g} to a map with fan_in = "
                f"{fan_in} and fan_out = {fan_out}; expected one between 1e-{_DECADES} and "
                f"1e{_DECADES}. Change `std`, or the powers of `fan_in`, `fan_out` or `fan_sum`."
            )
        if max(map(abs, terms)) > _DECADES:  # powers that cancel, of which one may overflow
            return 10.0**decades * factors[self.depth]
        return self.std * math.prod(fan**power for fan, power in powers) * factors[self.depth]


@dataclass(frozen=True)
class Recipe(Result):
    """A table of laws by role.

    Attributes:
        name: What people call it.
        source: Where it is written.
        roles: Role -> law; a role that is not in it is not checked.
        free: Whether one factor common to all roles is fitted.
    """

    name: str
    source: str
    roles: Mapping[str, RoleLaw] = field(default_factory=dict)
    free: bool = True

    def law(self, role: str) -> RoleLaw | None:
        """Return the law of a role; that of the reader for gates and what lies inside a branch."""
        if role in self.roles:
            return self.roles[role]
        reader = self.roles.get("reader")
        if role == "map" and self.roles.get("writer", reader) != reader:
            return None  # it may write the stream as well as read it
        stands = (first for first, others in _STANDS_FOR.items() if role in others)
        return next((self.roles[first] for first in stands if first in self.roles), None)


RecipeLike: TypeAlias = Checked[str | Path | Mapping[str, Any] | Recipe | None]
"""A recipe's name, a table of laws by role, or a TOML file with one."""


def _flat(name: str, source: str, depth: Depth = "1", **tables: RoleLaw) -> Recipe:
    laws = {"reader": RoleLaw(), "writer": RoleLaw(depth=depth), "embedding": RoleLaw()}
    return Recipe(name, source, laws | tables)


def _by_fan(
    name: str, source: str, std: float, depth: Depth = "1", *, free: bool, query: bool = False
) -> Recipe:
    law = RoleLaw(std, fan_in=-0.5, query=query)
    return Recipe(name, source, {"reader": law, "writer": RoleLaw(std, -0.5, depth=depth)}, free)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _flat("gpt2", "Radford et al. 2019, section 2.3; openai/gpt-2, std 0.02", "1/sqrt(2L)",
              position=RoleLaw(also=(0.01,))),
        _flat("bert", "arXiv:1810.04805; google-research/bert, initializer_range 0.02"),
        _flat("llama", "transformers, LlamaConfig, initializer_range 0.02"),
        _flat("llama-depth", "pytorch/torchtitan, llama3, depth_init", "1/sqrt(2(l+1))",
              embedding=RoleLaw(also=(1.0,))),
        Recipe("vit", "timm, init_weights_vit_timm: truncated normal, std 0.02",
               {"reader": RoleLaw(), "writer": RoleLaw()}),
        _by_fan("t5", "arXiv:1910.10683; transformers", 1.0, free=True, query=True),
        _by_fan("mup-like", "arXiv:2203.03466, table 3", 1.0, free=True, query=True),
        _by_fan("completep-like", "arXiv:2505.01618", 1.0, "1/L", free=True),
        _by_fan("torch default", "torch.nn.Linear.reset_parameters", 3**-0.5, free=False),
        _by_fan("he", "arXiv:1502.01852", 2**0.5, free=False),
        Recipe("resnet", "torchvision, ResNet: arXiv:1502.01852 by fan_out",
               {role: RoleLaw(2**0.5, fan_out=-0.5) for role in ("reader", "writer")}, free=False),
        Recipe("xavier", "Glorot and Bengio 2010, PMLR 9:249-256",
               {role: RoleLaw(2**0.5, fan_sum=-0.5) for role in ("reader", "writer")}, free=False),
    )
}  # fmt: skip
"""The recipes that have a name, the more special ones first."""


def recipe_of(recipe: object) -> Recipe:
    """Return a recipe by its name, from a table, or from a TOML file.

    Raises:
        TypeError: If it is none of them.
        ValueError: If the name or a word of the table is not known, or a file cannot be read.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Path) or (isinstance(recipe, str) and recipe.endswith(".toml")):
        return _from_file(Path(recipe))
    if isinstance(recipe, str):
        known = RECIPES.get(recipe.lower())
        if known is None:
            raise ValueError(
                f"`recipe` is {recipe!r}; expected one of {', '.join(map(repr, RECIPES))}, a "
                f"dictionary or a .toml file.{suggest(recipe, RECIPES)}"
            )
        return known
    if isinstance(recipe, Mapping):
        return _from_table(recipe)
    several = "; several inputs go in one tuple, `(x, t, y)`" if isinstance(recipe, Tensor) else ""
    raise TypeError(
        f"`recipe` is a {type(recipe).__name__}; expected a name, a dictionary or a .toml "
        f"file{several}."
    )


def _from_file(path: Path) -> Recipe:
    try:
        return _from_table({"name": path.stem} | tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"`recipe` is {str(path)!r}, which cannot be read ({error}); expected a TOML file with "
            "a table for every role."
        ) from error


def _from_table(table: Mapping[str, Any]) -> Recipe:
    roles = check_kind("recipe['roles']", table.get("roles"), Mapping, "laws by role")
    laws = {str(role): _law(str(role), law) for role, law in roles.items()}
    name, source = str(table.get("name", "own")), str(table.get("source", "given by the caller"))
    return Recipe(name, source, laws, bool(table.get("free", False)))


def _law(role: str, law: object) -> RoleLaw:
    if role not in _ROLES:
        raise ValueError(
            f"`recipe` has the role {role!r}; expected one of {', '.join(map(repr, _ROLES))}."
            f"{suggest(role, _ROLES)}"
        )
    from_user = check_kind(
        f"recipe['roles'][{role!r}]", law, Mapping, "a table such as {std = 0.02}"
    )
    known = ("std", "fan_in", "fan_out", "fan_sum", "depth", "query")
    wrong = [str(key) for key in from_user if key not in known]
    if wrong:
        raise ValueError(
            f"`recipe` has {wrong[0]!r} for {role!r}; expected {', '.join(known)}."
            f"{suggest(wrong[0], known)}"
        )
    depth = from_user.get("depth", "1")
    if depth not in DEPTHS:
        raise ValueError(
            f"`recipe` has depth {shown(depth)} for {role!r}; expected one of "
            f"{', '.join(map(repr, DEPTHS))}."
        )
    numbers = {
        k: check_real(
            f"recipe[{role!r}][{k!r}]", from_user[k], above=0.0 if k == "std" else -math.inf
        )
        for k in known[:4]
        if k in from_user
    }
    fans = [key for key in ("fan_in", "fan_out", "fan_sum") if numbers.get(key)]
    if fans and role not in MAPS:
        raise ValueError(
            f"`recipe` has {fans[0]!r} for {role!r}, which is no map and has no fan; expected its "
            "standard deviation, as a number, in `std`."
        )
    return replace(RoleLaw(depth=depth, query=bool(from_user.get("query", False))), **numbers)
