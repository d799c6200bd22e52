"""The studies at the size of a profile, ready to run: derived from the registry."""

from collections.abc import Sequence

from isometry._checks import suggest
from isometry._typing import Checked
from isometry._words import Profile
from isometry.experiments.parts.study import PROFILES, PlannedStudy
from isometry.experiments.studies import all_studies


def studies(
    profile: Checked[Profile],
    images: Sequence[str],
    *,
    only: Sequence[str] = (),
    limit: int | None = None,
) -> list[PlannedStudy]:
    """Return the studies of a profile, ready to run.

    Args:
        profile: "smoke", "quick" or "full".
        images: Image sets for the spectra; the first one is also trained on.
        only: Names of studies; all without.
        limit: Training images, instead of the profile's number.

    Raises:
        ValueError: If the profile or a study is unknown, or ``images`` is empty.
    """
    if profile not in PROFILES:
        known = ", ".join(map(repr, PROFILES))
        raise ValueError(
            f"`profile` is {profile!r}; expected one of {known}.{suggest(profile, PROFILES)}"
        )
    every = {study.name: study for study in all_studies()}
    unknown = [name for name in only if name not in every]
    if unknown:
        raise ValueError(
            f"`studies` has {unknown[0]!r}; expected {', '.join(map(repr, every))}."
            f"{suggest(unknown[0], every)}"
        )
    if not images:
        raise ValueError("`images` is empty; expected at least one image set, such as 'digits'.")
    chosen = [study for name, study in every.items() if not only or name in only]
    return [study.at(profile, images, limit=limit) for study in chosen]
