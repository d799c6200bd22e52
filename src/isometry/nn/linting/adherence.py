"""How well a model follows a recipe, and which parameters do not."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.fits import MISFITS, close, counted, fans_of, tensors
from isometry.nn.linting.kinds import Kind, kinds_of
from isometry.nn.linting.statistics import Summary
from isometry.nn.roles.parts import MAPS, Part
from isometry.nn.roles.recipes import RECIPES, Recipe, RoleLaw

_TABLES = ("embedding", "position")
"""Roles of tables, whose size goes by no fan."""
_INSIDE = ("reader", "gate", "inner")
"""Roles of maps that a recipe draws without a factor for depth."""
_FEW = 3
"""Tensors from which it is said that no recipe fits."""
_ALIKE = 0.1
"""Difference of log(std) from which a map is unlike its siblings."""


@dataclass(frozen=True)
class Misfit:
    """One map that a recipe says otherwise of, and by what factor."""

    part: Part
    std: float
    ratio: float


@dataclass(frozen=True)
class Adherence:
    """A recipe with its factor, and the kinds that follow it or do not."""

    recipe: Recipe
    factor: float
    right: tuple[Kind, ...]
    """Those of which most maps follow it."""
    wrong: tuple[Kind, ...]
    misfits: tuple[Misfit, ...]
    """The maps that do not: those of wrong kinds, and few of right ones."""

    @property
    def own_size(self) -> bool:
        """Whether the recipe's overall size is the model's, within 4 %."""
        return abs(math.log(self.factor)) < 0.04

    @property
    def words(self) -> str:
        """How well it fits, in a sentence."""
        total = len(self.right) + len(self.wrong)
        scaled = "" if self.own_size else f", at {self.factor:.3g} times its size"
        wrong = {part.name for kind in self.wrong for part in kind.parts}
        names = [kind.name for kind in self.wrong]
        names += [m.part.name for m in self.misfits if m.part.name not in wrong]
        apart = f"; not {', '.join(f'`{name}`' for name in names[:3])}" if names else ""
        return (
            f"Recipe: {self.recipe.name} fits {len(self.right)} of {total} kinds{scaled}{apart} "
            f"({self.recipe.source})"
        )


def adherence(
    recipe: Recipe, kinds: Sequence[Kind], constants: Sequence[Part] = ()
) -> Adherence | None:
    """Compare the kinds that a recipe speaks of; None where there is none.

    Args:
        recipe: Laws by role.
        kinds: What repeats.
        constants: What the recipe draws and is one number.
    """
    pairs = [(kind, said[1]) for kind in kinds if (said := spoken(recipe, kind.part)) is not None]
    pairs = [(k, law) for k, law in pairs if k.part.role != "writer" or len(k.parts) > 1]
    if not pairs and not constants:
        return None
    layers = _layers(kinds)
    ratios = [
        (kind, [_ratios(kind, law, layers[kind.part.stack], fans) for fans in fans_of(kind)], law)
        for kind, law in pairs
    ]
    factor = _factor([(kind, tried[0]) for kind, tried, _ in ratios]) if recipe.free else 1.0
    right, wrong, misfits = [], [], [Misfit(part, 0.0, 0.0) for part in constants]
    for kind, tried, law in ratios:
        scaled = [[r / size for r in own] for own in tried for size in _sizes(kind, law, factor)]
        own, off = min(((s, _off(kind, s, law)) for s in scaled), key=lambda found: len(found[1]))
        (wrong if 2 * len(off) > len(own) else right).append(kind)
        misfits += [Misfit(kind.parts[i], kind.stds[i], own[i]) for i in off]
    return Adherence(recipe, factor, tuple(right), tuple(wrong), tuple(misfits))


def spoken(recipe: Recipe, part: Part) -> tuple[str, RoleLaw] | None:
    """Return the role by which a recipe speaks of a part, and its law; None where it does not.

    A map that is a table of embeddings as well follows the table's law where it has none.
    """
    laws = ((role, recipe.law(role)) for role in (part.role, *part.tied))
    return next(((role, law) for role, law in laws if law is not None), None)


def _layers(kinds: Sequence[Kind]) -> dict[str, int]:
    """Return {stack: number of layers}, which the maps have."""
    found: dict[str, list[Kind]] = {kind.part.stack: [] for kind in kinds}
    for kind in kinds:
        found[kind.part.stack] += [kind] if kind.part.role in MAPS else []
    return {stack: counted(maps)[0] for stack, maps in found.items()}


def _factor(ratios: Sequence[tuple[Kind, Sequence[float]]]) -> float:
    """Return the overall size: that of the maps that do not write, where there are any."""
    inside = [r for kind, r in ratios if kind.part.role in _INSIDE]
    maps = [r for kind, r in ratios if kind.part.role in MAPS]
    return statistics.median_low([_usual(r) for r in inside or maps or [r for _, r in ratios]])


def _sizes(kind: Kind, law: RoleLaw, factor: float) -> list[float]:
    """Return the sizes that a kind may have beside its law.

    Where the maps are scaled by width, a table may be scaled with them or not.
    """
    table = kind.part.role in _TABLES or bool(kind.part.tied)
    scales = [factor, 1.0] if table else [factor]
    return [scale * std / law.std for scale in scales for std in (law.std, *law.also)]


def _ratios(kind: Kind, law: RoleLaw, layers: int, fans: tuple[int, int]) -> list[float]:
    """Return std over what the law says of some fans, map by map.

    A fixed number that multiplies a branch, as 1/L in CompleteP, is as good as smaller weights.
    """
    return [
        std * abs(part.multiplier) / law.value(fans, layers, layer)
        for std, part, layer in zip(kind.stds, kind.parts, kind.layers, strict=True)
    ]


def _usual(ratios: Sequence[float]) -> float:
    """Return the mean of ratios that lie about their median, where these are most of them."""
    logs = [math.log(r) for r in ratios]
    middle = statistics.median(logs)
    near = [v for v in logs if abs(v - middle) < _ALIKE]
    return math.exp(statistics.fmean(near if 2 * len(near) > len(logs) else logs))


def _off(kind: Kind, ratios: Sequence[float], law: RoleLaw) -> list[int]:
    """Return which maps of a kind do not follow a law: few where the others do, otherwise all.

    A map alone is held to its own error. The others are held together, so that a kind which is
    wrong by less than one map's error is not taken for right because half of its maps pass.
    """
    everyone = list(range(len(ratios)))
    profile = -0.5 if law.depth == "1/sqrt(2(l+1))" else 0.0
    if kind.slope is not None and abs(kind.slope - profile) > 0.1:
        return everyone
    head = _head(kind, ratios, law)
    off = [i for i in everyone if not _agrees(kind.only([i]), ratios[i], head)]
    rest = [i for i in everyone if i not in off]
    if not rest:
        return everyone
    others = kind.only(rest)
    flat = profile != 0 and others.slope is None and len(set(others.layers)) > 2
    together = math.exp(statistics.fmean(math.log(ratios[i]) for i in rest))
    return everyone if flat or not _agrees(others, together, head) else off


def _head(kind: Kind, ratios: Sequence[float], law: RoleLaw) -> int:
    """Return the size of heads whose root divides queries and keys; 1 where there is none.

    It is read off all maps together: one small map's error is more than that of a size.
    """
    if not (law.query and kind.part.attention in ("query", "key")):
        return 1
    size = round(_usual(ratios) ** -2)
    return size if size > 1 and kind.part.shape[0] % size == 0 else 1


def _agrees(kind: Kind, ratio: float, head: int) -> bool:
    return close(ratio, 1.0, kind) or (head > 1 and close(ratio, head**-0.5, kind))


def nearest(kinds: Sequence[Kind]) -> Adherence | None:
    """Return the named recipe that nearly all maps follow; of those alike the first at its size."""
    fits = [a for recipe in RECIPES.values() if (a := adherence(recipe, kinds)) is not None]
    fits = [a for a in fits if len(a.right) >= 2]
    best = max(fits, key=lambda a: (-_share(a), a.own_size), default=None)
    return best if best is not None and _share(best) <= MISFITS else None


def _share(found: Adherence) -> float:
    """Return the share that does not follow a recipe, of the kinds or of the tensors they are in.

    The parts of a fused tensor, drawn at once, neither confirm a recipe nor refuse it three times.
    """
    wrong, right = tensors(found.wrong), tensors(found.right)
    kinds = len(found.wrong) / (len(found.wrong) + len(found.right))
    return max(kinds, len(wrong) / len(wrong | right))


def told(evidence: Evidence, recipe: Recipe | None) -> str:
    """Return in words how well a recipe fits; without one the nearest, or that none fits."""
    if recipe is not None:
        found = adherence(recipe, *_drawn(evidence, recipe))
        return "" if found is None else found.words
    best, fit = nearest(evidence.kinds), evidence.fit
    if best is not None:
        return best.words
    if fit is not None:
        return f"Recipe: none fits; the nearest law is std = {fit.formula}"
    placed = [kind for kind in evidence.kinds if kind.part.role in ("writer", *_INSIDE)]
    return "Recipe: none fits, and no law of the fans." if len(tensors(placed)) >= _FEW else ""


def _drawn(evidence: Evidence, recipe: Recipe) -> tuple[list[Kind], list[Part]]:
    """Return what a recipe says that is drawn: kinds with a size, and what is one number."""
    drawn, constants = [], []
    for part in evidence.parts:
        summary = evidence.typical.get(part.name)
        is_map = part.role in MAPS and part.map is not None
        if summary is None or not summary.finite or not (is_map or spoken(recipe, part)):
            continue
        if part.role == "position" and _is_waves(summary):
            continue
        drawn.append(part)
        tables = part.role in _TABLES and math.prod(part.shape[:-1]) == 1  # a token, which may be 0
        if summary.std == 0 and summary.size > 1 and spoken(recipe, part) and not tables:
            constants.append(part)
    return kinds_of(drawn, evidence.typical), constants


def _is_waves(summary: Summary) -> bool:
    """Return whether a table looks like sines and cosines, which nothing draws."""
    return 0.4 < summary.rms**2 < 0.501 and 0.9 < summary.largest < 1.0001


def against_recipe(evidence: Evidence, recipe: Recipe) -> Iterator[Finding]:
    """Find what a recipe says otherwise."""
    found = adherence(recipe, *_drawn(evidence, recipe))
    if found is None:
        seen = evidence.followed.graph is not None
        yield Finding(
            None, "recipe", "warning",
            f"No weight with values has a role that the recipe {recipe.name!r} speaks of.",
            "Materialise the weights, or choose a recipe for the roles that there are." if seen
            else "Pass an input `x`, so that roles are known.", None,
        )  # fmt: skip
        return
    for misfit in found.misfits:
        yield _misfit(misfit, recipe)


def _misfit(misfit: Misfit, recipe: Recipe) -> Finding:
    part, said = misfit.part, spoken(recipe, misfit.part)
    assert said is not None
    role, law = said
    depth = "" if law.depth == "1" else f", with the depth scaling {law.depth}"
    by = "" if part.multiplier == 1 else f", times the branch's {part.multiplier:.3g},"
    return Finding(
        part.name, "recipe", "error",
        f"Its standard deviation of {misfit.std:.3g}{by} is {misfit.ratio:.3g} times what the "
        f"recipe {recipe.name!r} says of {'an' if role[0] in 'aeiou' else 'a'} {role}{depth}.",
        "Draw it by the recipe, or choose another one.", misfit.ratio,
    )  # fmt: skip
