"""Lint over all layers of a streamed model: from their numbers, when their weights are gone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from isometry.nn.linting.adherence import against_recipe, told
from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.laws import laws
from isometry.nn.linting.scales import layers
from isometry.nn.linting.statistics import Summary
from isometry.nn.roles.follow import Followed
from isometry.nn.roles.parts import Part
from isometry.nn.roles.recipes import Recipe
from isometry.nn.scale.streaming.passed import Passed


@dataclass(frozen=True)
class Gathered(Evidence):
    """Parts and numbers of layers that were seen one after the other."""

    seen: tuple[Part, ...] = ()
    numbers: Mapping[str, Summary] = field(default_factory=dict)
    orthogonal: frozenset[str] = frozenset()

    @cached_property
    def parts(self) -> list[Part]:
        """All parameters and buffers of the layers."""
        return list(self.seen)

    @cached_property
    def summaries(self) -> Mapping[str, Summary]:
        """{name: numbers} of every part that had values."""
        return self.numbers

    @cached_property
    def typical(self) -> Mapping[str, Summary]:
        """The same: the layers hand them on so."""
        return self.numbers

    def is_orthogonal(self, part: Part) -> bool:
        """Return whether a part had orthogonal rows, or columns, of one size."""
        return part.name in self.orthogonal


@dataclass(frozen=True)
class Conclusion:
    """What the layers say together: findings, the law that most maps follow, the recipe."""

    findings: tuple[Finding, ...]
    law: str
    recipe: str


def gathered(passes: Sequence[Passed], recipe: Recipe | None, trained: bool) -> Conclusion:
    """Hold the maps of all layers to each other and to a recipe.

    Args:
        passes: One for every layer.
        recipe: What they are held to; None takes the one that fits best and holds them to none.
        trained: Whether the weights are meant to be trained ones.
    """
    parts = {part.name: part for passed in passes for part in passed.parts}
    evidence = Gathered(
        Followed((), {}, {}, {}, {}),
        trained,
        tuple(parts.values()),
        {name: one for passed in passes for name, one in passed.summaries.items()},
        frozenset(name for passed in passes for name in passed.orthogonal),
    )
    return Conclusion(tuple(_findings(evidence, recipe)), *_words(evidence, recipe))


def _findings(evidence: Evidence, recipe: Recipe | None) -> Iterator[Finding]:
    yield from layers(evidence)
    yield from laws(evidence)
    if recipe is not None and not evidence.trained:
        yield from against_recipe(evidence, recipe)


def _words(evidence: Evidence, recipe: Recipe | None) -> tuple[str, str]:
    if evidence.trained:
        return "", ""
    fit = evidence.fit
    return "" if fit is None else fit.words, told(evidence, recipe)
