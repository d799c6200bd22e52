import pytest
import torch
from torch import nn

from cases_modules import Residual, mlp, stack
from isometry.nn.scale.capture import captured, layers_of

WIDTH = 8


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(3, WIDTH), nn.Tanh())
        self.layers = nn.ModuleList(Residual(mlp(WIDTH, WIDTH)) for _ in range(3))

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return x


def test_layers_are_the_outermost_children_of_lists():
    model = Backbone()
    found = layers_of(model, None)
    assert [name for name in found.values() if name.startswith("layers")] == [
        "layers.0",
        "layers.1",
        "layers.2",
    ]
    assert all(module in found for module in model.layers)


def test_what_does_not_map_the_stream_to_its_shape_is_left_out():
    model = Backbone()
    calls, output = captured(lambda: model(torch.ones(2, 3)), layers_of(model, None))
    assert [call.name for call in calls] == ["stem.1", "layers.0", "layers.1", "layers.2"]
    assert torch.equal(output, model(torch.ones(2, 3)))
    assert torch.equal(calls[1].stream, model.stem(torch.ones(2, 3)))


def test_nested_sequences_are_looked_into():
    model = nn.Sequential(stack(lambda: Residual(mlp(WIDTH, WIDTH)), 2), nn.Linear(WIDTH, 2))
    assert list(layers_of(model, None).values()) == ["0.0", "0.1", "1"]


def test_a_layer_that_is_called_twice_is_two_layers():
    layer = Residual(mlp(WIDTH, WIDTH))
    calls, _ = captured(lambda: layer(layer(torch.ones(1, WIDTH))), {layer: "shared"})
    assert len(calls) == 2
    assert torch.equal(calls[1].stream, layer(torch.ones(1, WIDTH)))


def test_a_stream_passed_by_name_is_found_and_passed_on_so():
    class Named(nn.Module):
        def forward(self, mask, *, hidden):
            return hidden * 2 if mask.any() else hidden

    layer = Named()
    mask = torch.ones(2, dtype=torch.bool)
    ((call,), _) = captured(lambda: layer(mask, hidden=torch.ones(2)), {layer: ""})
    assert call.key == "hidden"
    assert torch.equal(call(torch.full((2,), 3.0)), torch.full((2,), 6.0))


def test_a_layer_is_run_again_as_it_was_cast():
    layer = nn.Linear(WIDTH, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        ((call,), _) = captured(lambda: layer(torch.ones(1, WIDTH)), {layer: ""})
    assert call(call.stream).dtype == torch.bfloat16
    assert layer(call.stream).dtype == torch.float32


def test_names_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"`blocks` contains 'layer.0'.*'layers.0'"):
        layers_of(Backbone(), ["layer.0"])


def test_no_hook_stays_after_an_error():
    model = Backbone()
    with pytest.raises(RuntimeError):
        captured(lambda: model(torch.ones(2, 4)), layers_of(model, None))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
