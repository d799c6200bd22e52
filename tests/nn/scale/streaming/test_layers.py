import pytest
from torch import nn

from cases_families import family
from cases_streaming import bare
from isometry.nn.scale.streaming.layers import layers_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Llama", "layers.{}"), ("GPT2", "h.{}"), ("Bert", "encoder.layer.{}"),
     ("Mixtral", "layers.{}"), ("ViT", "layers.{}")],
)  # fmt: skip
def test_layers_of_transformers_are_found(name, expected):
    model, _ = family(name)
    assert list(layers_of(model, None).values()) == [expected.format(i) for i in range(4)]


def test_repeated_parts_of_a_sequence_are_layers():
    def part():
        return nn.Sequential(nn.Linear(2, 2))

    model = nn.Sequential(nn.Linear(2, 2), part(), part(), nn.Linear(2, 2))
    assert list(layers_of(model, None).values()) == ["1", "2"]


def test_layers_can_be_named():
    model = bare()
    assert list(layers_of(model, ["layers.2"]).values()) == ["layers.2"]
    assert list(layers_of(model, [model.layers[1]]).values()) == ["layers.1"]
    with pytest.raises(ValueError, match="has 'layer', which is no module"):
        layers_of(model, ["layer"])


def test_a_model_without_layers_is_refused():
    with pytest.raises(ValueError, match="without a list of layers"):
        layers_of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), None)
