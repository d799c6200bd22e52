import pytest
import torch

from isometry.nn.roles.parts import Part, kind_of, layer_of, outputs, stack_of
from isometry.nn.roles.uses import WeightMap


def test_numbers_of_layers_become_stars_and_those_in_words_stay():
    assert kind_of("layer1.0.conv2.weight") == "layer1.*.conv2.weight"
    assert stack_of("layer1.*.conv2.weight") == "layer1."
    assert stack_of("head.weight") == ""
    assert layer_of("blocks.11.experts.3.weight") == 11
    assert layer_of("head.weight") is None


def test_a_part_has_the_name_and_the_fans_of_its_rows():
    part = Part("a.0.weight", "reader", (2, 3), "a.*.weight", (2, 4), map=WeightMap(3, 4, (0, 1)))
    assert part.name == "a.0.weight[2:4]"
    assert part.fans == (3, 2)
    assert not part.bank
    assert Part("w", "gate", (2, 3), "w", (0, 2), map=WeightMap(3, 4, (0, 1, 2), 1)).bank


@pytest.mark.parametrize(("shape", "kernel", "rows"), [((8, 2, 3, 3), True, 8), ((5, 2), False, 5)])
def test_outputs_are_counted_by_rows(shape, kernel, rows):
    fan = shape[1] * (9 if kernel else 1)
    described = WeightMap(fan, shape[0], tuple(range(len(shape))), kernel=kernel)
    assert outputs(torch.ones(shape), described) == rows
