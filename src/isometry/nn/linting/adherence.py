"""How well a model follows a recipe, and which parameters do not."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.fits import close, counted
from isometry.nn.linting.kinds import Kind
from isometry.nn.roles.recipes import RECIPES, Recipe, RoleLaw

_USED = 0.5
"""Share of the kinds from which the recipe that fits best is named."""


@dataclass(frozen=True)
class Adherence:
    """A recipe with its factor, and the kinds that follow it or do not."""

    recipe: Recipe
    factor: float
    right: tuple[Kind, ...]
    wrong: tuple[tuple[Kind, float], ...]
    """With the ratio to what the recipe says."""

    @property
    def own_size(self) -> bool:
        """Whether the recipe's overall size is the model's, within 4 %."""
        return abs(math.log(self.factor)) < 0.04

    @property
    def words(self) -> str:
        """How well it fits, in a sentence."""
        total = len(self.right) + len(self.wrong)
        scaled = "" if self.own_size else f", at {self.factor:.3g} times its size"
        off = ", ".join(f"`{kind.name}`" for kind, _ in self.wrong[:3])
        apart = f"; not {off}" if off else ""
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
    ratios = [(kind, _ratio(kind, law, layers[kind.part.stack]), law) for kind, law in pairs]
    inside = [r for kind, r, _ in ratios if kind.part.role in ("reader", "gate", "inner")]
    factor = statistics.median_low(inside or [r for _, r, _ in ratios]) if recipe.free else 1.0
    right = tuple(kind for kind, r, law in ratios if _agrees(kind, r / factor, law))
    wrong = tuple((kind, r / factor) for kind, r, _ in ratios if kind not in right)
    return Adherence(recipe, factor, right, wrong)


def _ratio(kind: Kind, law: RoleLaw, layers: int) -> float:
    """Return std over what the law says, as a mean over the layers.

    A fixed number that multiplies a branch, as 1/L in CompleteP, is as good as smaller weights.
    """
    logs = [
        math.log(std * abs(part.multiplier) / law.value(part.fans, layers, layer))
        for std, part, layer in zip(kind.stds, kind.parts, kind.layers, strict=True)
    ]
    return math.exp(statistics.fmean(logs))


def _agrees(kind: Kind, ratio: float, law: RoleLaw) -> bool:
    profile = -0.5 if law.depth == "1/sqrt(2(l+1))" else 0.0
    uneven = kind.slope is not None and abs(kind.slope - profile) > 0.1
    flat = profile != 0 and kind.slope is None and len(set(kind.layers)) > 2
    if uneven or flat:
        return False
    if close(ratio, 1.0, kind):
        return True
    size = round(ratio**-2)
    head = law.query and kind.part.attention in ("query", "key") and size > 1
    return head and kind.part.shape[0] % size == 0 and close(ratio, size**-0.5, kind)


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
        yield Finding(
            None, "recipe", "warning",
            f"No parameter has a role that the recipe {recipe.name!r} speaks of.",
            "Pass an input `x`, so that roles are known.", None,
        )  # fmt: skip
        return
    for kind, ratio in found.wrong:
        law = recipe.law(kind.part.role)
        depth = "" if law is None or law.depth == "1" else f", with the depth scaling {law.depth}"
        for part, std in zip(kind.parts, kind.stds, strict=True):
            by = "" if part.multiplier == 1 else f", times the branch's {part.multiplier:.3g},"
            yield Finding(
                part.name, "recipe", "error",
                f"Its standard deviation of {std:.3g}{by} is {ratio:.3g} times what the recipe "
                f"{recipe.name!r} says of a {part.role}{depth}.",
                "Draw it by the recipe, or choose another one.", ratio,
            )  # fmt: skip
