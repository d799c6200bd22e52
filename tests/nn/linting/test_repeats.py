import pytest
import torch
from torch import nn

import isometry as iso
from cases_lint import Bank, Listed, decoder, edited, linted, mixtures, named
from isometry import nn as inn


def test_equal_shards_are_an_error_with_the_number_of_distinct_rows():
    report = linted(edited(lambda i, la: la.up.weight[88:].copy_(la.up.weight[:88])))
    assert named(report, "duplicate-rows", "error") == [f"layers.{i}.up.weight" for i in range(6)]
    assert report.findings[0].number == 88
    assert "Only 88 of its 176 rows are distinct" in report.findings[0].message


def test_equal_columns_are_an_error():
    report = linted(edited(lambda i, la: la.down.weight[:, 88:].copy_(la.down.weight[:, :88])))
    assert len(named(report, "duplicate-columns", "error")) == 6
    assert named(report, "duplicate-rows") == []


def test_rows_that_differ_in_one_entry_are_distinct():
    def almost(i, layer):
        layer.up.weight[88:].copy_(layer.up.weight[:88])
        layer.up.weight[88:, 5] += 1e-4

    assert named(linted(edited(almost)), "duplicate-rows") == []


def test_two_maps_that_are_equal_within_a_layer_are_an_error():
    report = linted(edited(lambda i, la: la.gate.weight.copy_(la.up.weight)))
    assert len(named(report, "copies", "error")) == 6


def test_copied_layers_are_a_note():
    layer = nn.TransformerEncoderLayer(32, 4, 48, batch_first=True)
    report = inn.lint(
        nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), torch.ones(1, 4, 32)
    )
    assert report.worst() == ()
    assert named(report, "copies", "note")
    assert all("the layers are copies" in f.message for f in report.of("note"))


def test_maps_that_start_alike_in_layers_that_differ_are_no_copies_of_layers():
    torch.manual_seed(0)
    net = inn.HyperResNet(iso.ResNetSpec("tanh", depth=4), 16, streams=4, logit=3.0)
    report = inn.lint(net, torch.ones(1, 16))
    assert report.worst() == ()
    said = [f.message for f in report.findings if f.rule == "copies"]
    assert len(said) == 1
    assert "other maps of these layers are not: they start alike" in said[0]


def banks(edit=None):
    return mixtures(Bank, edit)


@pytest.mark.parametrize("name", ["up", "down"])
@pytest.mark.parametrize("factor", [0.0, 0.3, 3.0, 100.0])
def test_of_one_expert_unlike_the_others_nothing_else_is_said(name, factor):
    report = banks(lambda model: getattr(model[1], name)[2].mul_(factor))
    assert [(f.rule, f.parameter) for f in report.worst()] == [("experts", f"1.{name}[2]")]
    assert report.worst()[0].number == pytest.approx(factor, rel=0.1)
    assert report.worst()[0].severity == ("error" if factor == 100 else "warning")


def test_a_fair_bank_is_clean_and_a_bank_unlike_the_others_is_named_as_one():
    assert banks().worst() == ()
    report = banks(lambda model: model[1].up.mul_(3))
    assert [(f.rule, f.parameter) for f in report.worst()] == [("role-scale", "1.up")]


@pytest.mark.parametrize("name", ["up", "down"])
def test_an_expert_of_a_list_is_named_like_a_layer(name):
    assert mixtures(Listed).worst() == ()
    report = mixtures(Listed, lambda model: getattr(model[1].experts[2], name).mul_(3))
    assert [(f.rule, f.parameter) for f in report.worst()] == [
        ("role-scale", f"1.experts.2.{name}")
    ]


def test_equal_experts_are_repeated_rows():
    report = banks(lambda model: model[0].up[1].copy_(model[0].up[0]))
    assert named(report, "duplicate-rows", "error") == ["0.up"]


def test_the_right_decoder_repeats_nothing():
    rules = ("duplicate-rows", "duplicate-columns", "copies", "experts")
    report = linted(decoder())
    assert not any(named(report, rule, "error", "warning", "note") for rule in rules)
