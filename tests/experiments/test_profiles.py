import importlib
import sys
from functools import partial

import pytest

from isometry.experiments import studies as folder
from isometry.experiments.engine.executors import open_executor
from isometry.experiments.parts import study
from isometry.experiments.profiles import studies
from isometry.experiments.reproduction import gather, page, run_studies
from isometry.experiments.studies import all_studies

STUDIES = ("matrices", "cumulants", "spectra", "learning", "training", "convolution")


@pytest.mark.parametrize(
    "profile", ["smoke", *(pytest.param(p, marks=pytest.mark.slow) for p in ("quick", "full"))]
)
def test_every_profile_has_every_study_and_no_run_twice(profile):
    found = studies(profile, ["digits"])
    assert [study.name for study in found][: len(STUDIES)] == list(STUDIES)
    for planned in found:
        ids = [config.id for config in planned.configs]
        assert len(set(ids)) == len(ids) >= 1
        assert {config.task for config in planned.configs} == {planned.study.task}


def test_a_plan_is_the_same_every_time():
    first, second = (
        [c.id for study in studies("smoke", ["digits"]) for c in study.configs] for _ in range(2)
    )
    assert first == second


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


NEW = """
'''Is the sum of uniform numbers Gaussian?'''

from isometry.experiments.engine.runs import Outcome, RunConfig
from isometry.experiments.parts.claims import Findings, Hypothesis, Reading
from isometry.experiments.parts.study import Study, register


def plan(terms, seeds):
    return [RunConfig("sum-of-uniforms", seed, {"terms": terms}) for seed in range(seeds)]


def run(config, folder):
    sums = config.rng().uniform(-1, 1, (1000, config.settings["terms"])).sum(axis=1)
    return Outcome({"kurtosis": float((sums**4).mean() / (sums**2).mean() ** 2)})


def summarise(runs):
    mean = sum(run.results["kurtosis"] for run in runs) / len(runs)
    claim = Hypothesis("sums", "The kurtosis is three", "sums", mean, low=2.8, high=3.2)
    return Findings("Sums", [Reading([claim])])


STUDY = register(
    Study(
        name="sums",
        number=99,
        task="sum-of-uniforms",
        plan=lambda images, size: plan(**size),
        run=run,
        summarise=lambda runs, size: summarise(runs),
        sizes=dict.fromkeys(("smoke", "quick", "full"), {"terms": 50, "seeds": 3}),
    )
)
"""


@pytest.fixture
def new_study(tmp_path, monkeypatch):
    (tmp_path / "sums.py").write_text(NEW)
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    monkeypatch.setattr(study, "_REGISTRY", dict(study._REGISTRY))
    importlib.invalidate_caches()
    yield
    sys.modules.pop(f"{folder.__name__}.sums", None)


def test_a_new_study_is_one_file(new_study, tmp_path):
    assert [item.name for item in all_studies()][-1] == "sums"
    plan = studies("smoke", ["digits"], only=["sums"])
    report = run_studies(plan, tmp_path / "runs", open_executor=partial(open_executor, "serial"))
    assert (report.made, report.failed) == (3, {})
    found = gather(plan, tmp_path / "runs", profile="smoke")
    (claim,) = found.hypotheses
    assert claim.holds
    assert "The kurtosis is three" in page(found).html()
