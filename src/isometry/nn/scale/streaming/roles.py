"""What the parameters of a streamed model are for, and so what a recipe makes of them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from isometry.nn.init.draw_recipe import CONSTANT, Fill, View, fills_of, law_of
from isometry.nn.roles.follow import Followed, followed
from isometry.nn.roles.parts import Part, kind_of, stack_of
from isometry.nn.roles.recipes import Recipe
from isometry.nn.roles.roles import parts_of
from isometry.nn.scale.streaming.loans import lent
from isometry.nn.scale.streaming.measure import LayerCall
from isometry.nn.scale.streaming.passed import renamed
from isometry.nn.scale.streaming.supply import Blind


class Roles:
    """Seen in the first layer of each kind, with weights of any values."""

    def __init__(
        self, recipe: Recipe, layers: Mapping[nn.Module, str], names: Mapping[Tensor, str]
    ) -> None:
        self.recipe = recipe
        self._names = names
        self._counts = Counter(stack_of(kind_of(f"{name}.")) for name in layers.values())
        self._seen: dict[tuple[Any, ...], tuple[list[Part], View]] = {}

    def inside(self, call: LayerCall) -> dict[str, Fill]:
        """Return what a layer's parameters become.

        Raises:
            ValueError: If one has no values and the recipe says nothing of it.
        """
        own = {key: self._names[p] for key, p in call.module.named_parameters()}
        shapes = tuple((key, p.shape) for key, p in call.module.named_parameters())
        kind = (type(call.module), shapes)
        if kind not in self._seen:
            unfilled = frozenset(name for p, name in self._names.items() if p.is_meta)
            with lent(call.module.modules(), self._names, Blind(unfilled)):
                self._seen[kind] = _view(followed(call.at, call.stream))
        return self._fills(*self._seen[kind], own)

    def outside(self, module: nn.Module) -> dict[str, Fill]:
        """Return what the parameters become that a module outside the layers holds itself.

        Raises:
            ValueError: If one has no values and the recipe says nothing of it.
        """
        own = {k: self._names[p] for k, p in module._parameters.items() if p is not None}
        parts, view = _view(followed(module, None))
        parts = [part.with_role("head") if part.role == "map" else part for part in parts]
        return self._fills(parts, view, own)

    def _fills(self, parts: list[Part], view: View, own: Mapping[str, str]) -> dict[str, Fill]:
        parts = [renamed(p, own[p.parameter]) for p in parts if p.parameter in own]
        held = {name: p for p, name in self._names.items()}
        for part in parts:
            silent = part.role not in CONSTANT and law_of(part, self.recipe) is None
            if silent and held[part.parameter].is_meta:
                raise ValueError(
                    f"`recipe` is {self.recipe.name!r}, which says nothing of {part.parameter!r} "
                    f"(its role is {part.role!r}), and the model gives it no constant; expected a "
                    "law for it. Use a recipe of your own that has one."
                )
        names = View(view.graph, view.padding, {full: key for key, full in own.items()})
        return fills_of(parts, self.recipe, self._counts, names)


def _view(seen: Followed) -> tuple[list[Part], View]:
    return parts_of(seen.parameters, {}, seen.modules, seen.graph, seen.maps), View.of(seen)
