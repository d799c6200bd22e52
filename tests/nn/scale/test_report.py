import json
import math

import pytest
import torch

from isometry.nn.scale.products import BlockSums
from isometry.nn.scale.report import ScaleReport
from isometry.nn.scale.result import BlockScale


def block(name="b", *, v=0.1, skip=1.0, growth=1.0, size=100, t=0.0):
    """A block of which zᵀXz / N = t and tau(X Xᵀ) = v for every probe."""
    products = torch.tensor([[t] * 4, [v] * 4, [0.0] * 4], dtype=torch.float64) * size
    squares = torch.tensor([1.0, growth**2], dtype=torch.float64)
    return BlockScale.of(BlockSums(name, skip, products, squares, size))


def test_parts_of_the_blocks_add_up():
    report = ScaleReport.of([block(v=0.1, growth=2.0), block(v=0.3, growth=1.5)])
    assert report.c == pytest.approx(0.4)
    assert report.log_scale == pytest.approx(0)
    assert report.growth == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("blocks", "sentence"),
    [
        ([block()] * 3, "Near dynamical isometry: by the law of c = 0.3 "),
        ([block(v=1.0)] * 2, "Some way from isometry"),
        ([block(v=4.0)] * 4, "Far from isometry.*by about 0.25 brings"),
        ([block(v=1e7)], "Far from isometry"),
        ([block(), block("bad", v=math.nan)], "Not finite from block `bad` on"),
        ([block(growth=2.0)] * 3, "The stream grows 8 times"),
        ([block(f"b{i}") for i in range(9)] + [block("odd", v=1.0)], "`odd` alone carries 53%"),
        ([block(), block("zero", v=0.0)], "1 branches are zero maps, `zero`"),
        ([block(), block("steep", v=8.0)], "`steep` alone stretches gradients 3 times"),
        ([block(), block("head", skip=None)], "no skip that is a number, `head`"),
    ],
)
def test_the_verdict_names_what_stands_out(blocks, sentence):
    report = ScaleReport.of(blocks)
    assert len(torch.tensor(report.c).shape) == 0
    assert pytest.importorskip("re").search(sentence, "\n".join(report.findings))


def test_layers_without_a_skip_have_no_c():
    report = ScaleReport.of([block("a", skip=None), block("b", skip=None)])
    assert math.isnan(report.c)
    assert math.isnan(report.log_scale)
    assert report.findings[0].startswith("No layer has a skip that is a number, so there is no c")
    assert not report.landed(1.0)


def test_ordinary_blocks_are_not_remarked_upon():
    assert len(ScaleReport.of([block(f"b{i}") for i in range(9)]).findings) == 1


def test_it_prints_a_table_and_becomes_json():
    report = ScaleReport.of([block("layers.0"), block("head", skip=None)])
    assert "layers.0" in str(report)
    assert "c = 0.1" in str(report)
    found = json.loads(json.dumps(report.to_dict()))
    assert [b["name"] for b in found["blocks"]] == ["layers.0", "head"]
    assert found["findings"]
    assert report.rows()[0]["share of c"] == pytest.approx(1.0)


def test_a_report_of_one_stage_is_whole():
    report = ScaleReport.of([block()])
    assert report.gathered(None) is report
