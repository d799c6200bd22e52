import torch

from cases_lint import DEPTH, LAYERS, STD, edited, linted, named, redraw


def test_one_layer_off_scale_is_named_with_its_ratio():
    report = linted(edited(lambda i, layer: layer.gate.weight.mul_(1.5) if i == 2 else None))
    assert named(report, "role-scale") == ["layers.2.gate.weight"]
    assert 1.4 < report.findings[0].number < 1.6


def test_one_layer_a_hundred_times_too_large_is_an_error():
    report = linted(edited(lambda i, layer: layer.gate.weight.mul_(100) if i == 2 else None))
    assert named(report, "role-scale", "error") == ["layers.2.gate.weight"]
    report = linted(edited(lambda i, layer: layer.gate.weight.mul_(5) if i == 2 else None))
    assert named(report, "role-scale", "error") == []


def test_the_last_layer_off_scale_is_no_profile():
    report = linted(edited(lambda i, layer: layer.gate.weight.mul_(2) if i == 5 else None))
    assert named(report, "role-scale") == ["layers.5.gate.weight"]


def test_chance_between_layers_is_not_named():
    report = linted(edited(lambda i, layer: layer.gate.weight.mul_(1.03) if i == 2 else None))
    assert named(report, "role-scale") == []


def test_a_rule_that_goes_by_the_layers_number_is_a_note():
    def draw(i, layer):
        for m in (layer.down, layer.attention.o):
            redraw(m.weight, STD / (2 * (i + 1)) ** 0.5, i)

    report = linted(edited(draw))
    assert report.worst() == ()
    assert [f.message for f in report.of("note") if "(layer + 1)^-0.5" in f.message]


def test_sizes_that_fall_from_layer_to_layer_are_left_alone():
    report = linted(edited(lambda i, layer: redraw(layer.down.weight, STD * DEPTH * 0.7**i, i)))
    assert named(report, "role-scale") == []


def test_orthogonal_maps_scaled_by_data_are_left_alone():
    def draw(i, layer):
        torch.nn.init.orthogonal_(layer.attention.o.weight, gain=1.3 if i == 0 else 1.0)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        report = linted(edited(draw))
    names = {f"layers.{i}.attention.o.weight" for i in range(LAYERS)}
    assert not names & set(named(report, "role-scale"))
