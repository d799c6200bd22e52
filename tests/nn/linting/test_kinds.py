import pytest

from cases_lint import STD, decoder, edited, redraw, tokens
from isometry.nn.linting.evidence import Evidence
from isometry.nn.roles.follow import followed


def kinds(model):
    return {kind.name: kind for kind in Evidence(followed(model, tokens())).kinds}


def test_a_kind_gathers_what_repeats_and_parts_stay_apart():
    found = kinds(decoder())
    assert len(found["layers.*.gate.weight"].parts) == 6
    assert found["layers.*.attention.qkv.weight[64:128]"].part.attention == "key"
    assert found["layers.*.gate.weight"].std == pytest.approx(STD, rel=0.02)
    assert found["layers.*.gate.weight"].layers == (0, 1, 2, 3, 4, 5)


def test_a_slope_is_found_where_sizes_follow_a_power_of_the_layer():
    found = kinds(edited(lambda i, la: redraw(la.down.weight, 0.02 / (i + 1), i)))
    assert found["layers.*.down.weight"].slope == pytest.approx(-1, abs=0.05)
    assert found["layers.*.gate.weight"].slope is None
