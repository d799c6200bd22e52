import pytest

from isometry.experiments.profiles import ACTIVATIONS, PROFILES, STUDIES, studies
from isometry.experiments.tasks import TASKS


@pytest.mark.parametrize(
    "profile", ["smoke", *(pytest.param(p, marks=pytest.mark.slow) for p in ("quick", "full"))]
)
def test_every_profile_has_every_study_and_no_run_twice(profile):
    found = studies(profile, ["digits"])
    assert [study.name for study in found] == list(STUDIES)
    for study in found:
        ids = [config.id for config in study.configs]
        assert len(set(ids)) == len(ids) >= 1
    assert {config.task for study in found for config in study.configs} == set(TASKS)


def test_a_plan_is_the_same_every_time():
    first, second = (
        [c.id for study in studies("smoke", ["digits"]) for c in study.configs] for _ in range(2)
    )
    assert first == second


def test_the_full_profile_is_what_the_readme_promises():
    full = PROFILES["full"]
    assert len(ACTIVATIONS) >= 8
    assert full["training"]["seeds"] == 3
    assert (full["training"]["network"]["width"], full["training"]["network"]["depth"]) == (256, 20)


def test_studies_are_chosen_by_name_and_images_can_be_limited():
    (study,) = studies("smoke", ["digits"], only=["training"], limit=50)
    assert study.name == "training"
    assert {config.settings["limit"] for config in study.configs} == {50}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("ful", ["digits"]), r"`profile` is 'ful'; .* Did you mean 'full'\?"),
        (("smoke", []), "`images` is empty; expected at least one"),
    ],
)
def test_a_wrong_profile_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        studies(*arguments)


def test_an_unknown_study_is_refused():
    with pytest.raises(ValueError, match=r"`studies` has 'trainin'; .* Did you mean 'training'\?"):
        studies("smoke", ["digits"], only=["trainin"])
