"""How well a model follows a recipe, and which parameters do not."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.fits import close, counted, fans_of
from isometry.nn.linting.kinds import Kind
from isometry.nn.roles.parts import Part
from isometry.nn.roles.recipes import RECIPES, Recipe, RoleLaw

_USED = 0.5
"""Share of the kinds from which the recipe that fits best is named."""
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


def adherence(recipe: Recipe, kinds: Sequence[Kind]) -> Adherence | None:
    """Compare the kinds that a recipe speaks of; None where there is none."""
    layers = {kind.part.stack: 0 for kind in kinds}
    for stack in layers:
        layers[stack] = counted([kind for kind in kinds if kind.part.stack == stack])[0]
    pairs = [(kind, law) for kind in kinds if (law := recipe.law(kind.part.role)) is not None]
    pairs = [(k, law) for k, law in pairs if k.part.role != "writer" or len(k.parts) > 1]
    if not pairs:
        return None
    ratios = [
        (kind, [_ratios(kind, law, layers[kind.part.stack], fans) for fans in fans_of(kind)], law)
        for kind, law in pairs
    ]
    inside = [r[0] for kind, r, _ in ratios if kind.part.role in ("reader", "gate", "inner")]
    sizes = [_usual(r) for r in inside or [r[0] for _, r, _ in ratios]]
    factor = statistics.median_low(sizes) if recipe.free else 1.0
    right, wrong, misfits = [], [], []
    for kind, tried, law in ratios:
        scaled = [[r / factor for r in own] for own in tried]
        own, off = min(((s, _off(kind, s, law)) for s in scaled), key=lambda found: len(found[1]))
        (wrong if 2 * len(off) > len(own) else right).append(kind)
        misfits += [Misfit(kind.parts[i], kind.stds[i], own[i]) for i in off]
    return Adherence(recipe, factor, tuple(right), tuple(wrong), tuple(misfits))


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
    """Return the named recipe that most kinds follow; of those alike the first at its own size."""
    fits = [a for recipe in RECIPES.values() if (a := adherence(recipe, kinds)) is not None]
    fits = [a for a in fits if len(a.right) >= 2]
    best = max(fits, key=_fits, default=None)
    total = 0 if best is None else len(best.right) + len(best.wrong)
    return best if best is not None and len(best.right) > _USED * total else None


def _fits(found: Adherence) -> tuple[float, bool]:
    return len(found.right) / (len(found.right) + len(found.wrong)), found.own_size


def against_recipe(evidence: Evidence, recipe: Recipe) -> Iterator[Finding]:
    """Find what a recipe says otherwise."""
    found = adherence(recipe, evidence.kinds)
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
        part, law = misfit.part, recipe.law(misfit.part.role)
        depth = "" if law is None or law.depth == "1" else f", with the depth scaling {law.depth}"
        by = "" if part.multiplier == 1 else f", times the branch's {part.multiplier:.3g},"
        yield Finding(
            part.name, "recipe", "error",
            f"Its standard deviation of {misfit.std:.3g}{by} is {misfit.ratio:.3g} times what the "
            f"recipe {recipe.name!r} says of a {part.role}{depth}.",
            "Draw it by the recipe, or choose another one.", misfit.ratio,
        )  # fmt: skip
