from dataclasses import replace

import pytest

from isometry.experiments.engine.runs import RunConfig
from isometry.experiments.parts import study
from isometry.experiments.parts.claims import Findings
from isometry.experiments.parts.study import PROFILES, Study, register, registered


def some(**changes):
    made = Study(
        name="one",
        number=101,
        task="one-task",
        plan=lambda images, size: [RunConfig("one-task", 0, {"images": list(images), **size})],
        run=lambda config, folder: None,
        summarise=lambda runs, size: Findings(f"{len(runs)} at {size['width']}", []),
        sizes={name: {"width": 2 + k, "limit": 9} for k, name in enumerate(PROFILES)},
    )
    return replace(made, **changes)


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(study, "_REGISTRY", {})


def test_a_study_is_planned_and_summarised_at_the_size_of_a_profile():
    planned = some().at("quick", ["digits"])
    (config,) = planned.configs
    assert config.settings == {"images": ["digits"], "width": 3, "limit": 9}
    assert planned.name == "one"
    assert planned.summarise([]).title == "0 at 3"


def test_the_limit_replaces_the_profile_s_where_there_is_one():
    assert some().at("smoke", ["digits"], limit=5).size["limit"] == 5
    untrained = some(sizes={key: {"width": 2} for key in PROFILES})
    assert untrained.at("smoke", ["digits"], limit=5).size == {"width": 2}


def test_the_page_s_order_is_that_of_the_numbers():
    last = register(some())
    first = register(some(name="two", number=100, task="two-task"))
    assert registered() == [first, last]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"number": 100, "task": "x"}, "`name` is 'one', which the study 'one' has"),
        ({"name": "two", "task": "x"}, "`number` is 101, which the study 'one' has"),
        ({"name": "two", "number": 100, "run": print}, "`task` is 'one-task', which the study"),
    ],
)
def test_what_a_study_shares_with_another_one_is_refused(changes, text):
    register(some())
    with pytest.raises(ValueError, match=text + ".*; expected one of its own"):
        register(some(**changes))
    assert len(registered()) == 1


def test_two_studies_may_share_a_task_and_its_function():
    first = register(some())
    register(some(name="two", number=100, run=first.run))
    assert len(registered()) == 2


@pytest.mark.parametrize("sizes", [{}, {"smoke": {}}, {key: {} for key in (*PROFILES, "huge")}])
def test_a_study_has_a_size_for_every_profile_and_no_other(sizes):
    with pytest.raises(ValueError, match=r"`sizes` of 'one' are for .*; expected one each for"):
        some(sizes=sizes)
