import json

import pytest

from cases_streaming import IDS, bare
from isometry.nn.scale.streaming.streaming import stream

REPORT = stream(bare(), IDS, recipe="gpt2")


def test_totals_are_sums_over_the_blocks():
    assert REPORT.c == pytest.approx(sum(block.c for block in REPORT.blocks))
    assert REPORT.log_scale == pytest.approx(sum(block.log_scale for block in REPORT.blocks))
    squares = sum(block.traces.standard_error["c"] ** 2 for block in REPORT.blocks)
    assert REPORT.c_standard_error == pytest.approx(squares**0.5)


def test_every_block_has_a_row_with_the_growth_of_its_layer():
    rows = REPORT.rows()
    assert [row["block"] for row in rows] == [block.name for block in REPORT.blocks]
    assert [row["stream"] for row in rows] == list(REPORT.growth.values())


def test_the_summary_has_one_number_each():
    found = REPORT.summary()
    assert found["c"] == REPORT.c
    assert found["growth"] == REPORT.growth["layers.3"]
    assert found["errors"] == 0


def test_the_text_says_where_the_weights_are_from_and_what_they_follow():
    text = str(REPORT)
    assert "Tokens, drawn by 'gpt2', seed 0: 4 residual blocks in 4 layers" in text
    assert "Recipe: gpt2 fits 2 of 2 kinds" in " ".join(text.split())


def test_the_report_is_json():
    assert json.loads(json.dumps(REPORT.to_dict()))["blocks"][0]["name"] == "layers.0"
