import dataclasses
import html
import json
import re
from functools import partial

import pytest

from cases_runs import training_run
from isometry.experiments.engine.executors import open_executor
from isometry.experiments.profiles import studies
from isometry.experiments.reproduction import _conditions, gather, page, run_studies, write
from isometry.report.blocks import figures

SERIAL = partial(open_executor, "serial")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    plan = studies("smoke", ["digits"], only=["matrices"])
    report = run_studies(plan, out, open_executor=SERIAL)
    assert (report.made, report.failed) == (len(plan[0].configs), {})
    return out


def test_the_page_states_every_claim_with_its_number_and_verdict(made):
    both = studies("smoke", ["digits"], only=["matrices", "training"])
    found = gather(both, made, profile="smoke")
    text = page(found).html()
    assert len(found.hypotheses) == 6
    for item in found.hypotheses:
        assert f'<span class="badge">{item.verdict}</span>{html.escape(item.statement)}.' in text
        assert f"{item.number:.4g}" in text
    assert "isometry reproduce matrices --profile smoke" in text
    missing = len(both[1].configs)
    assert f"Not finished, hence absent: training (0 of {missing} runs)" in text
    assert found.finished["matrices"] == (len(both[0].configs),) * 2


def test_the_command_names_the_images_that_were_trained_on(made, tmp_path):
    found = gather(studies("smoke", ["digits"], only=["matrices"]), made, profile="smoke")
    assert found.conditions["trained_on"] == ""
    assert "--data" not in page(found).html()
    run = training_run(tmp_path, "He", "relu", 1.0, 0, 40.0)
    conditions = _conditions([run])
    assert conditions["trained_on"] == run.config.settings["images"]
    assert (
        "--profile smoke --data digits"
        in page(
            dataclasses.replace(found, conditions={**conditions, "trained_on": "digits"})
        ).html()
    )


def test_the_claims_of_the_headline_add_up(made):
    found = gather(studies("smoke", ["digits"], only=["matrices"]), made, profile="smoke")
    finding = found.findings["matrices"]
    first, *others = finding.readings
    without = dataclasses.replace(first.hypotheses[0], number=None)
    reading = dataclasses.replace(first, hypotheses=[without, *first.hypotheses[1:]])
    changed = dataclasses.replace(finding, readings=[reading, *others])
    text = page(dataclasses.replace(found, findings={"matrices": changed})).html()
    counts = [int(n) for n in re.findall(r"\d+", re.search(r"\d+ of \d+ claims[^<]*", text)[0])]
    assert counts[0] + sum(counts[2:]) == counts[1]
    assert "1 not measured" in text
    assert "fail." in page(found).html()


def test_the_folder_holds_the_page_the_figures_and_the_numbers(made, tmp_path):
    found = gather(studies("smoke", ["digits"], only=["matrices"]), made, profile="smoke")
    target = tmp_path / "docs" / "reproduction"
    target.mkdir(parents=True)
    (target / "reproduction-99.svg").write_text("of an earlier page")
    assert write(found, target) == target / "reproduction.html"
    names = sorted(path.name for path in target.iterdir())
    assert names == [
        *(f"reproduction-{number}.svg" for number in range(1, 5)), "reproduction.html",
        "reproduction.json", "reproduction.md",
    ]  # fmt: skip
    record = json.loads((target / "reproduction.json").read_text())
    assert record["hypotheses"] == found.to_dict()["hypotheses"]
    assert {"commit", "versions", "machine"} <= set(record["conditions"])
    assert "(reproduction-2.svg)" in (target / "reproduction.md").read_text()


def test_a_folder_without_a_finished_study_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`out` is .*no study is finished; .*same command again"):
        gather(studies("smoke", ["digits"], only=["matrices"]), tmp_path, profile="smoke")


def test_a_page_that_cannot_be_written_is_one_sentence(made, tmp_path):
    found = gather(studies("smoke", ["digits"], only=["matrices"]), made, profile="smoke")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"`out` is .*file.*cannot be written"):
        write(found, tmp_path / "file" / "docs")


def test_of_several_studies_the_head_counts_claims_and_each_study_has_all_its_figures(made):
    found = gather(studies("smoke", ["digits"], only=["matrices"]), made, profile="smoke")
    alone = page(found)
    assert alone.figure.caption != "Claims by study."
    twice = dataclasses.replace(found, findings={"a": found.findings["matrices"]} | found.findings)
    assert page(twice).figure.caption == "Claims by study."
    drawn = [list(figures(each.sections[1].blocks)) for each in (page(twice), alone)]
    assert drawn[0] == [alone.figure, *drawn[1]]
