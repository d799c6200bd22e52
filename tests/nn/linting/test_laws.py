import math

import pytest
import torch
from torch import nn

from cases_lint import (
    DEPTH,
    INNER,
    LAYERS,
    STD,
    WIDTH,
    decoder,
    edited,
    linted,
    named,
    redraw,
    redraw_writers,
)
from isometry import nn as inn


def test_a_reading_map_scaled_like_a_writer_is_named_with_the_factor():
    report = linted(edited(lambda i, layer: redraw(layer.up.weight, STD * DEPTH, i)))
    assert named(report, "role-scale") == [f"layers.{i}.up.weight" for i in range(LAYERS)]
    assert len(report.worst()) == LAYERS
    assert "1/sqrt(2L) = 0.289" in report.findings[0].message
    assert abs(report.findings[0].number / DEPTH - 1) < 0.05


def test_a_fan_of_another_map_is_named():
    wrong = STD * DEPTH * math.sqrt(INNER / WIDTH)
    report = linted(edited(lambda i, layer: redraw(layer.down.weight, wrong, i)))
    assert named(report, "fan") == [f"layers.{i}.down.weight" for i in range(LAYERS)]
    assert len(report.worst()) == LAYERS
    assert "sqrt(fan_in / fan_in') = 1.66" in report.findings[0].message


def test_a_writer_without_the_depth_scaling_of_the_other_is_named():
    for name in ("down", "attention.o"):
        edit = lambda i, la, name=name: redraw(la.get_submodule(name).weight, STD, i)  # noqa: E731
        report = linted(edited(edit))
        assert named(report, "depth") == [f"layers.{i}.{name}.weight" for i in range(LAYERS)]


def test_no_depth_scaling_at_all_is_a_note():
    report = linted(edited(lambda i, layer: redraw_writers(layer, STD, i)))
    assert report.worst() == ()
    assert named(report, "depth", "note") == [
        "layers.0.attention.o.weight",
        "layers.0.down.weight",
    ]


def test_a_part_of_a_fused_map_is_named_by_its_rows():
    def halve(i, layer):
        layer.attention.qkv.weight[2 * WIDTH :].mul_(0.5)

    report = linted(edited(halve))
    assert [f.parameter for f in report.worst()] == [
        f"layers.{i}.attention.qkv.weight[128:192]" for i in range(LAYERS)
    ]


def test_a_difference_of_2_percent_is_none_and_one_of_15_percent_is_some():
    small = linted(edited(lambda i, layer: layer.up.weight.mul_(1.02)))
    assert small.worst() == ()
    large = linted(edited(lambda i, layer: layer.up.weight.mul_(1.15)))
    assert len(large.worst()) == LAYERS


def test_a_factor_of_30_is_an_error():
    report = linted(edited(lambda i, layer: layer.up.weight.mul_(30)))
    assert named(report, "role-scale", "error")


def test_queries_and_keys_may_share_a_factor():
    def deepnet(i, layer):
        layer.attention.qkv.weight[: 2 * WIDTH].mul_(2.6)

    report = linted(edited(deepnet))
    assert report.worst() == ()
    assert len(named(report, "fan", "note")) == 2


def test_torchs_own_layers_mix_two_rules_and_are_left_alone():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    x = torch.randn(2, 8, 64, generator=torch.Generator().manual_seed(0))
    assert inn.lint(model, x).worst() == ()


def test_a_trained_model_is_held_to_no_law():
    report = linted(edited(lambda i, la: redraw(la.up.weight, STD * DEPTH, i)), trained=True)
    assert named(report, "role-scale") == []


def test_the_right_decoder_follows_one_law():
    report = linted(decoder())
    assert "1/sqrt(2L) = 0.289 where the stream is written, followed by 7 of 7" in report.law


def test_the_law_of_a_writer_is_told_with_the_factor_of_its_peers():
    report = linted(edited(lambda i, la: redraw(la.down.weight, STD * DEPTH * 1.6, i)))
    assert len(named(report, "fan")) == LAYERS
    assert "times 1/sqrt(2L) = 0.289" in report.findings[0].message
    readers = linted(edited(lambda i, la: redraw(la.up.weight, STD * 1.6, i)))
    assert "times 1/sqrt(2L) =" not in readers.findings[0].message


def test_a_factor_that_queries_and_keys_share_with_values_is_no_rule_of_theirs():
    report = linted(edited(lambda i, la: la.attention.qkv.weight.mul_(0.6)))
    assert named(report, "fan", "note") == []
    assert {f.parameter for f in report.worst()} >= {
        f"layers.0.attention.qkv.weight[{rows}]" for rows in ("0:64", "64:128", "128:192")
    }


class Reduced(nn.Module):
    """A kernel before linear maps, each drawn by its class, as in pyramids of transformers."""

    def __init__(self, side, fan):
        super().__init__()
        self.reduce = nn.Conv1d(48, 48, side, side, groups=2)
        self.a, self.b, self.c, self.d = (nn.Linear(48, 48) for _ in range(4))
        nn.init.kaiming_normal_(self.reduce.weight, mode=fan, nonlinearity="relu")
        for m in (self.a, self.b, self.c, self.d):
            nn.init.normal_(m.weight, std=0.02)

    def forward(self, x):
        inside = self.a(x) + self.b(x) * self.c(x).tanh()
        small = self.reduce(x.mT).mT.repeat_interleave(self.reduce.stride[0], 1)
        return x + self.d(inside.relu() * small)


@pytest.mark.parametrize("fan", ["fan_in", "fan_out"])
def test_kernels_may_follow_a_rule_of_their_class(fan):
    torch.manual_seed(0)
    model = nn.Sequential(*[Reduced(side, fan) for side in (4, 4, 2, 2)])
    report = inn.lint(model, torch.randn(2, 8, 48))
    assert report.worst() == ()
    assert named(report, "fan", "note")[0] == "0.reduce.weight"
    with torch.no_grad():
        for block in model:
            block.reduce.weight.mul_(1.5)
    wrong = inn.lint(model, torch.randn(2, 8, 48))
    assert {f.parameter for f in wrong.worst()} == {f"{i}.reduce.weight" for i in range(4)}
