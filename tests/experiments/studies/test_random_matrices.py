import pytest

from cases_runs import finished, unshown
from isometry.experiments.engine.runs import RunConfig
from isometry.experiments.studies.random_matrices import draw, plan, summarise

SIZE = {
    "cs": [1.0, 2.0], "entries": ["gaussian", "orthogonal"], "width": 60, "depth": 32,
    "widths": [30, 120], "depths": [2, 4], "trend_width": 90, "seeds": 2,
}  # fmt: skip


def test_a_plan_has_every_c_with_every_kind_and_both_trends():
    cells = {tuple(config.settings.values()) for config in plan(**SIZE)}
    assert {(60, 32, c, kind) for c in SIZE["cs"] for kind in SIZE["entries"]} <= cells
    assert {(30, 32, 1.0, "gaussian"), (90, 4, 1.0, "gaussian")} <= cells
    assert len(plan(**SIZE)) == 2 * len(cells) == 16


def test_a_draw_is_closer_to_the_finite_depth_law_where_the_depth_is_small(tmp_path):
    settings = {"width": 200, "depth": 3, "c": 1.0, "entries": "gaussian"}
    found = draw(RunConfig("random-matrix", 0, settings), tmp_path).results
    assert found["ks_finite_depth"] < found["ks"] / 2
    assert found["log_variance_law"] == pytest.approx(7 / 3)


def test_the_summary_finds_the_law_and_tells_a_wrong_c(tmp_path):
    found = summarise(finished(tmp_path, plan(**SIZE), draw))
    law, variance, edges, power, *rates = found.hypotheses
    assert law.holds, law
    assert variance.holds, variance
    assert edges.holds, edges
    assert power.number > 0.5
    assert len(rates) == 2
    assert {row["draws"] for row in found.numbers["law"]} == {2}
    assert len(found.numbers["law"]) == 4
    assert unshown(found) == []


def test_the_trend_in_depth_is_that_of_the_finite_depth_law(tmp_path):
    size = SIZE | {"cs": [1.0, 2.0], "entries": ["gaussian"], "trend_width": 200}
    found = summarise(finished(tmp_path, plan(**size), draw))
    trend = found.numbers["depth"]
    assert [(row["width"], row["depth"]) for row in trend] == [(200, 2), (200, 4)]
    for row in trend:  # two draws of width 200: noise of about 2/N
        assert row["pooled KS"] == pytest.approx(row["KS of the two laws"], abs=0.01)
    assert trend[0]["KS of the two laws"] > 1.8 * trend[1]["KS of the two laws"]
    assert found.hypotheses[-1].holds
    assert "itself has -0.98" in found.hypotheses[-1].remark


def test_the_law_hypothesis_can_fail(tmp_path, monkeypatch):
    from isometry.experiments.studies import random_matrices

    wrong = random_matrices.UniversalLaw
    monkeypatch.setattr(random_matrices, "UniversalLaw", lambda c: wrong(3 * c))
    found = summarise(finished(tmp_path, plan(**SIZE), draw))
    assert [item.holds for item in found.hypotheses[:3]] == [False] * 3
