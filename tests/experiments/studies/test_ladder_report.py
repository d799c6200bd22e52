import pytest

from cases_runs import training_run, unshown
from isometry.experiments.parts.rungs import RUNGS, TOP
from isometry.experiments.studies import ladder_report
from isometry.experiments.studies.ladder_report import ladder_times, summarise

ACTS = ("relu", "tanh", "gelu")


def ladder(folder, top, habit=(20.0, 80.0, 30.0), sweep=(), seeds=(0, 1)):
    """Return runs whose time to loss 1 is the speed, at every rung and over c at the top."""
    folder.mkdir()
    cells = [(r, p, 1.0, s) for r in RUNGS[:-1] for p, s in zip(ACTS, habit, strict=True)]
    cells += [(TOP, p, 1.0, s) for p, s in zip(ACTS, top, strict=True)]
    cells += [(TOP, p, c, s) for c, speeds in sweep for p, s in zip(ACTS, speeds, strict=True)]
    return [
        training_run(folder, rung, phi, c, seed, speed, rung=rung, readout="standardised")
        for rung, phi, c, speed in cells
        for seed in seeds
    ]


def test_the_first_claim_passes_and_fails_where_it_must(tmp_path):
    equal = summarise(ladder(tmp_path / "a", (40.0, 41.0, 40.0)), levels=[1.5, 1.0], name="ladder")
    wide = summarise(ladder(tmp_path / "b", (40.0, 60.0, 40.0)), levels=[1.5, 1.0], name="ladder")
    assert equal.hypotheses[0].holds
    assert wide.hypotheses[0].holds is False
    assert "95 % interval" in equal.hypotheses[0].remark
    assert [row["rung"] for row in equal.numbers["times"]] == list(RUNGS)
    assert unshown(equal) == []
    assert equal.numbers["times"][-1]["tanh"] == pytest.approx(41.0, abs=0.1)


def test_an_interval_beside_the_number_says_why(tmp_path, monkeypatch):
    runs = ladder(tmp_path / "a", (40.0, 41.0, 40.0))
    said = []
    for low in (0.0, 0.5):
        monkeypatch.setattr(ladder_report, "bootstrap", lambda *_, low=low, **__: (low, 1.0))
        said.append(summarise(runs, levels=[1.0], name="ladder").hypotheses[0].remark)
    assert ["(above the number: " in remark for remark in said] == [False, True]


def test_a_rung_that_widens_the_spread_fails_its_claim(tmp_path):
    found = summarise(ladder(tmp_path / "a", (20.0, 99.0, 20.0)), levels=[1.0], name="ladder")
    last = next(item for item in found.hypotheses if TOP in item.statement)
    assert last.number > 1
    assert last.holds is False


def test_odd_activations_are_a_group_or_not(tmp_path):
    found = summarise(ladder(tmp_path / "a", (40.0,) * 3), levels=[1.0], name="ladder")
    parity = next(item for item in found.hypotheses if "odd activations" in item.statement)
    assert parity.holds
    same = ladder(tmp_path / "b", (40.0,) * 3, habit=(40.0,) * 3)
    parity = summarise(same, levels=[1.0], name="ladder").hypotheses[-1]
    assert parity.holds is False


def test_where_too_few_reach_a_loss_there_is_no_spread_and_no_claim(tmp_path):
    runs = ladder(tmp_path / "a", (500.0, 500.0, 40.0), habit=(20.0, 80.0, 30.0))
    found = summarise(runs, levels=[1.0], name="ladder")
    assert found.numbers["times"][-1]["spread"] is None
    assert found.numbers["levels"][0][TOP] is None
    assert found.numbers["levels"][0][RUNGS[0]] > 0.1
    last = next(item for item in found.hypotheses if TOP in item.statement)
    assert (last.number, last.holds) == (None, None)
    assert f">{TOP}<" in found.readings[0].blocks[1].svg  # named, with no point


def test_times_are_kept_by_rung(tmp_path):
    runs = ladder(tmp_path / "runs", (40.0, 1000.0, 40.0))
    assert ladder_times(runs, 1.0)[TOP]["tanh"] == {0: None, 1: None}
