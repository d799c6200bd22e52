"""A study is an object, registered where it is written.

It says how large it is at every profile, which runs it wants, how one of them is done and what the
finished ones say. Workers, profiles, the page and the commands learn of it from the registry alone,
so that a new study is one file in ``isometry.experiments.studies`` and no line elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from isometry._words import Profile
from isometry.experiments.engine.runs import Run, RunConfig, Task
from isometry.experiments.parts.claims import Findings

PROFILES: tuple[Profile, ...] = get_args(Profile)
"""Every word for the size of a study."""

Size = Mapping[str, Any]
"""Arguments of a study's plan."""


@dataclass(frozen=True)
class Study:
    """A question, and how it is put to the test.

    Args:
        name: What a command calls it.
        number: Its place on the page.
        task: What a run's config calls it; two studies may share a task.
        plan: From the image sets (the first one is trained on) and a size to the runs.
        run: Does one run; what it needs travels in the config.
        summarise: From all finished runs and the size to findings.
        sizes: A size per profile; every one of :data:`PROFILES` has its own.

    Raises:
        ValueError: If a profile has no size.
    """

    name: str
    number: int
    task: str
    plan: Callable[[Sequence[str], Size], list[RunConfig]]
    run: Task
    summarise: Callable[[Sequence[Run], Size], Findings]
    sizes: Mapping[str, Size]

    def __post_init__(self) -> None:
        if set(self.sizes) != set(PROFILES):
            raise ValueError(
                f"`sizes` of {self.name!r} are for {', '.join(self.sizes) or 'no profile'}; "
                f"expected one each for {', '.join(PROFILES)}."
            )

    def at(
        self, profile: Profile, images: Sequence[str], *, limit: int | None = None
    ) -> "PlannedStudy":
        """Return the study at the size of a profile.

        Args:
            profile: One of :data:`PROFILES`.
            images: Image sets, at least one.
            limit: Training images, instead of the profile's number, where the study trains.
        """
        size = self.sizes[profile]
        if limit is not None and "limit" in size:
            size = {**size, "limit": limit}
        return PlannedStudy(self, size, self.plan(images, size))


@dataclass(frozen=True)
class PlannedStudy:
    """A study at one size.

    Attributes:
        study: Which one.
        size: How large.
        configs: Its runs.
    """

    study: Study
    size: Size
    configs: Sequence[RunConfig]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.name

    def summarise(self, runs: Sequence[Run]) -> Findings:
        """Return what the finished runs say."""
        return self.study.summarise(runs, self.size)


_REGISTRY: dict[str, Study] = {}


def register(study: Study) -> Study:
    """Add a study to the registry and return it.

    Raises:
        ValueError: If its name or number is taken, or its task is done by another function.
    """
    for other in _REGISTRY.values():
        taken = {"name": study.name == other.name, "number": study.number == other.number}
        taken["task"] = study.task == other.task and study.run is not other.run
        for key, clash in taken.items():
            if clash:
                raise ValueError(
                    f"`{key}` is {getattr(study, key)!r}, which the study {other.name!r} has; "
                    "expected one of its own."
                )
    _REGISTRY[study.name] = study
    return study


def registered() -> list[Study]:
    """Return the studies whose modules were imported, in the order of the page."""
    return sorted(_REGISTRY.values(), key=lambda study: study.number)
