"""Kinds of bugs of initialisation that projects have reported, rebuilt small.

Each is named by its tensor and its rule, and nothing else is.
"""

import copy

import pytest
import torch
from torch import nn

from cases_lint import DEPTH, INNER, STD, WIDTH, Bank, decoder, edited, linted, redraw
from isometry import nn as inn


def scaled_wrong_projection():
    """Depth scaling on the map that the gate multiplies, beside the one that writes."""
    return edited(lambda i, layer: redraw(layer.up.weight, STD * DEPTH, i))


def loop_that_matches_half():
    """Depth scaling by name: "o" is matched, "down" is not."""
    return edited(lambda i, layer: redraw(layer.down.weight, STD, 50 + i))


def fan_of_another_map():
    """The fan-in of the map before is used for the one behind it."""
    wrong = STD * DEPTH * (INNER / WIDTH) ** 0.5
    return edited(lambda i, layer: redraw(layer.down.weight, wrong, i))


def shards_of_one_seed():
    """Every rank of tensor parallelism draws its shard with the same seed."""

    def shard(_, layer):
        for rows in layer.up.weight.chunk(4)[1:]:
            rows.copy_(layer.up.weight[: INNER // 4])

    return edited(shard)


def buffer_of_to_empty():
    """Built on the meta device, `to_empty`, and only the parameters initialised."""
    model = decoder()
    model.layers[0].attention.frequencies.fill_(float("nan"))
    return model


def gains_drawn_by_a_parent():
    """A parent draws every parameter from a normal, gains too."""
    return edited(lambda i, layer: layer.norm1.weight.normal_(0, 0.02))


def class_that_nobody_matched():
    """A subclass of Linear that `type(m) is nn.Linear` passes by keeps torch's default."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return edited(lambda i, layer: layer.gate.reset_parameters())


BUGS = {
    "depth scaling on the wrong projection": (scaled_wrong_projection, "up.weight", "role-scale"),
    "depth scaling by a name that misses one": (loop_that_matches_half, "down.weight", "depth"),
    "the fan-in of another map": (fan_of_another_map, "down.weight", "fan"),
    "shards drawn from one seed": (shards_of_one_seed, "up.weight", "duplicate-rows"),
    "a buffer after to_empty": (buffer_of_to_empty, "attention.frequencies", "buffer"),
    "gains drawn with the weights": (gains_drawn_by_a_parent, "norm1.weight", "norm-gain"),
    "a class that no rule matches": (class_that_nobody_matched, "gate.weight", "distribution"),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_published_bug_is_named_by_its_tensor_and_its_rule(name):
    build, tensor, rule = BUGS[name]
    worst = linted(build()).worst()
    assert {f.rule for f in worst} == {rule}
    assert {f.parameter.split(".", 2)[2] for f in worst} == {tensor}


def test_weights_that_a_checkpoint_missed_are_named():
    report = linted(decoder(), trained=True)
    assert {f.rule for f in report.of("error")} == {"fresh"}
    assert linted(copy.deepcopy(decoder())).worst() == ()


def test_a_bank_of_experts_with_one_copied_is_named():
    source = torch.Generator().manual_seed(0)
    model = nn.Sequential(*[Bank(source) for _ in range(3)])
    with torch.no_grad():
        model[1].down[3].copy_(model[1].down[0])
    report = inn.lint(model, torch.randn(8, 16, generator=source))
    assert [(f.parameter, f.rule) for f in report.worst()] == [("1.down", "duplicate-rows")]
