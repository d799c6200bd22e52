"""What a recipe makes of every parameter: a constant, or normal numbers of one size for each role.

The recipes are those that `inn.lint` holds a model to. Those with a name speak of maps and tables;
what stands beside them starts as one number where a recipe has no law of it: a normalisation's gain
at 1 (0 where the model adds 1), a bias at 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import accumulate

from torch import nn

from isometry.nn.roles.follow import Followed
from isometry.nn.roles.graph import Graph, is_product
from isometry.nn.roles.parts import MAPS, Part, layer_of
from isometry.nn.roles.recipes import Recipe, RoleLaw
from isometry.nn.roles.roles import parts_of

_OWN_SIZE = ("embedding", "position")
"""Roles drawn at standard deviation 1, as torch's embeddings are, where a recipe has no law."""
CONSTANT = ("norm gain", "bias")
"""Roles whose parameters are one number where a recipe has no law of them."""
_SEARCHED = 40
"""Calls behind a map in which the attention that it feeds is looked for."""


@dataclass(frozen=True)
class Fill:
    """What the entries of one parameter become.

    Attributes:
        value: The constant of all entries.
        std: Standard deviation of the normal numbers that are added to it.
        axis: Where parts of a fused map differ, the axis of its outputs; None where none do.
        stds: (outputs, standard deviation) of these parts, in their order.
        blank: The row that stays 0, as an embedding's padding; None where there is none.
    """

    value: float = 0.0
    std: float = 0.0
    axis: int | None = None
    stds: tuple[tuple[int, float], ...] = ()
    blank: int | None = None


def fills(followed: Followed, recipe: Recipe, keep: Sequence[str] = ()) -> dict[str, Fill]:
    """Return what every parameter becomes, by its name.

    Args:
        followed: The model, with the graph of a pass or without.
        recipe: Laws by role.
        keep: Names that are left out; a star stands for anything.

    Raises:
        ValueError: If a role has no law and no start that all recipes share, or what a law needs
            is not seen without a pass.
    """
    parts = parts_of(followed.parameters, {}, followed.modules, followed.graph, followed.maps)
    parts = [p for p in parts if not any(fnmatchcase(p.parameter, word) for word in keep)]
    _refuse_unspoken(parts, recipe)
    if followed.graph is None:
        _refuse_blind(parts, recipe)
    return fills_of(parts, recipe, layers_of(parts), View.of(followed))


@dataclass(frozen=True)
class View:
    """What was seen of the modules that hold some parts, beside the parts themselves.

    Attributes:
        graph: Of a pass through them; None where there was none.
        padding: {parameter: the row of an embedding that is its padding}.
        aliases: {name of a part: its name in the graph}, where they differ.
    """

    graph: Graph | None
    padding: Mapping[str, int]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(followed: Followed) -> "View":
        """Return what is seen of modules that were followed."""
        return View(followed.graph, _padding(followed.modules))

    def inside(self, name: str) -> str:
        """Return a parameter's name as the graph has it."""
        return self.aliases.get(name, name)


def fills_of(
    parts: Sequence[Part], recipe: Recipe, layers: Mapping[str, int], view: View
) -> dict[str, Fill]:
    """Return what the parameters of these parts become, where something says so.

    Args:
        parts: All parts of each parameter.
        recipe: Laws by role.
        layers: {stack: number of layers}.
        view: What was seen of them.

    Raises:
        ValueError: If the heads of queries are not seen that the recipe draws by their size.
    """
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(part.parameter, []).append(part)
    made = {}
    for name, own in groups.items():
        if own[0].role in CONSTANT or law_of(own[0], recipe) is not None:
            stds = [_std(part, recipe, layers.get(part.stack, 1), view) for part in own]
            made[name] = _fill(own, stds, view)
    return made


def layers_of(parts: Sequence[Part]) -> dict[str, int]:
    """Return {stack: number of layers}, by the numbers in the names of the maps."""
    numbers: dict[str, set[int | None]] = {}
    for part in parts:
        if part.stack and part.role in MAPS:
            numbers.setdefault(part.stack, set()).add(layer_of(part.parameter))
    return {stack: len(found) for stack, found in numbers.items()}


def law_of(part: Part, recipe: Recipe) -> RoleLaw | None:
    """Return the law of a part: its role's, that of maps that read where there is none."""
    own = recipe.law(part.role)
    if own is None and part.role in _OWN_SIZE:
        return RoleLaw(1.0)
    return recipe.law("reader") if own is None and part.role in MAPS else own


def _std(part: Part, recipe: Recipe, layers: int, view: View) -> float | None:
    """Return the standard deviation of a part; None where it is a constant.

    Raises:
        ValueError: If it is one of queries whose heads are not seen.
    """
    law = law_of(part, recipe)
    if law is None:
        return None
    fans = (1, 1) if part.map is None else part.fans
    std = law.value(fans, layers, layer_of(part.parameter) or 0)
    if law.query and part.attention == "query":
        std *= _head_size(part, view) ** -0.5
    return std


def _head_size(part: Part, view: View) -> int:
    """Return the last axis of what a map of queries becomes before it meets the keys.

    Raises:
        ValueError: If no product is met.
    """
    graph, name = view.graph, view.inside(part.parameter)
    nodes = [] if graph is None else graph.nodes
    todo = [n.index for n in nodes if n.applied is not None and n.applied.name == name]
    seen: set[int] = set()
    while graph is not None and todo and len(seen) < _SEARCHED:
        index = todo.pop(0)
        if index in seen:
            continue
        seen.add(index)
        for after, _ in graph.consumers[index]:
            if is_product(graph.nodes[after]):
                return graph.nodes[index].shape[-1]
            todo.append(after)
    raise ValueError(
        f"`recipe` draws queries smaller by the size of their heads, which is not seen for "
        f"{part.parameter!r}; expected a pass that shows it. Use a recipe without `query`."
    )


def _fill(parts: Sequence[Part], stds: Sequence[float | None], view: View) -> Fill:
    first, std, name = parts[0], stds[0], view.inside(parts[0].parameter)
    value = float(first.role == "norm gain" and not _is_shifted(view.graph, name))
    if std is None:
        return Fill(value)
    if len(set(stds)) == 1 or first.map is None:
        return Fill(value, std, blank=view.padding.get(name))
    rows = tuple((p.shape[0], s or 0.0) for p, s in zip(parts, stds, strict=True))
    return Fill(std=1.0, axis=first.map.order[first.map.stacked], stds=rows)


def _is_shifted(graph: Graph | None, name: str) -> bool:
    """Return whether a gain is used as 1 + gain."""
    uses = [] if graph is None else [u for node in graph.nodes for u in node.uses]
    return any(name in use.names and "add" in use.through for use in uses)


def _padding(modules: Mapping[str, nn.Module]) -> dict[str, int]:
    return {
        f"{name}.weight".lstrip("."): module.padding_idx
        for name, module in modules.items()
        if isinstance(module, nn.Embedding) and module.padding_idx is not None
    }


def _refuse_unspoken(parts: Sequence[Part], recipe: Recipe) -> None:
    """Refuse parameters of which neither the recipe nor all recipes say what they start as.

    Raises:
        ValueError: If there is one.
    """
    drawn = [part for part in parts if part.role not in CONSTANT]
    silent = {p.kind: p for p in drawn if law_of(p, recipe) is None}
    if silent:
        first = next(iter(silent.values()))
        raise ValueError(
            f"`recipe` is {recipe.name!r}, which says nothing of {first.parameter!r} (its role is "
            f"{first.role!r}); expected a law for every role. Write a recipe with one, or leave "
            f"what it does not speak of as it is: `keep={list(silent)}`."
        )


def _refuse_blind(parts: Sequence[Part], recipe: Recipe) -> None:
    """Refuse a recipe whose laws tell apart what only a pass tells apart.

    Raises:
        ValueError: If a map's place is unknown and laws differ by it.
    """
    unknown = [part for part in parts if part.role == "map"]
    reader, writer = recipe.law("reader"), recipe.law("writer")
    differ = reader != writer or (reader is not None and reader.query)
    if unknown and differ:
        raise ValueError(
            f"`x` is None, but the recipe {recipe.name!r} tells maps apart that only a pass shows, "
            f"as {unknown[0].parameter!r}; expected an input. Pass `x`, whose values do not matter."
        )


def factors(fill: Fill) -> list[float]:
    """Return one standard deviation for every output of a fused map."""
    ends = list(accumulate(count for count, _ in fill.stds))
    made = [0.0] * ends[-1]
    for (count, std), end in zip(fill.stds, ends, strict=True):
        made[end - count : end] = [std] * count
    return made
