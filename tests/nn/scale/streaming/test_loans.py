import pytest
import torch
from torch import nn

from cases_streaming import bare
from isometry.nn.scale.streaming.loans import first_names, lent, tied_names


class Ones:
    def __init__(self):
        self.asked = []

    def __call__(self, name, parameter):
        self.asked.append(name)
        parameter.fill_(1.0)


def test_modules_have_weights_inside_and_none_afterwards():
    model = bare()
    layer, names = model.layers[0], first_names(model)
    supply, held = Ones(), dict(layer.named_parameters())

    def used():
        with lent(layer.modules(), names, supply):
            assert bool((layer.up.weight == 1).all())
            assert not layer.up.weight.requires_grad
            assert model.layers[1].up.weight.is_meta
            raise KeyError

    with pytest.raises(KeyError):
        used()
    assert all(p is held[name] for name, p in layer.named_parameters())
    assert supply.asked == [f"layers.0.{name}" for name in held]


def test_constants_are_lent_as_copies():
    norm = nn.LayerNorm(3)
    with lent([norm], first_names(norm), Ones()):
        norm.weight.fill_(7.0)
    assert bool((norm.weight == 1).all())


def test_tied_weights_are_lent_once():
    model = bare()
    model.head.weight = model.embed.weight
    supply = Ones()
    with lent([model.embed, model.head], first_names(model), supply):
        assert model.head.weight is model.embed.weight
    assert supply.asked == ["embed.weight"]
    assert torch.is_tensor(model.head.weight)


def test_a_tied_parameter_has_several_names():
    model = bare(depth=0)
    model.head.weight = model.embed.weight
    assert tied_names(model) == {"embed.weight": ["embed.weight", "head.weight"]}
