from cases_runs import finished, unshown
from isometry.experiments.studies.cumulants import JUMPING, measure, plan, summarise
from isometry.theory.activations.lookup import activation_names

SIZE = {"widths": [30, 120], "depth": 15, "sigma_ws": [1.0], "sigma_bs": [0.0], "seeds": 2}
SOME = {"tanh", "gelu", "sigmoid"}


def some():
    return [config for config in plan(**SIZE) if config.settings["activation"] in SOME]


def test_every_named_activation_without_a_jump_is_planned():
    planned = {config.settings["activation"] for config in plan(**SIZE)}
    assert planned == set(activation_names()) - set(JUMPING)


def test_a_network_has_the_c_of_the_mean_field_and_better_so_if_it_is_wide(tmp_path):
    found = summarise(finished(tmp_path, some(), measure))
    rows = found.numbers["networks"]
    assert {row["width"] for row in rows} == {120}
    assert {row["activation"] for row in rows} == SOME
    assert found.hypotheses[0].number < 0.2  # two networks of width 120
    assert found.hypotheses[1].number < 0
    assert {row["activation"] for row in found.numbers["depth"]} == SOME
    assert unshown(found) == []


def test_the_comparison_can_fail(tmp_path, monkeypatch):
    from isometry.experiments.studies import cumulants

    right = cumulants.effective_cumulant
    monkeypatch.setattr(cumulants, "effective_cumulant", lambda spec: 1.1 * right(spec))
    wrong = finished(tmp_path, [c for c in some() if c.settings["activation"] == "tanh"], measure)
    assert not summarise(wrong).hypotheses[0].holds
