import pytest
import torch
from torch import nn

from cases_streaming import IDS, whole
from isometry.nn.scale.products import block_sums
from isometry.nn.scale.streaming.measure import LayerCall, measured

MODEL = whole()
S = MODEL.embed(IDS).detach()


def of(layer=MODEL.layers[1], args=(S,), **kwargs):
    with torch.no_grad():
        call = LayerCall(layer, "layers.1", args, kwargs)
        return measured(call, seed=3, number=1, num_probes=4, trained=False)


def test_the_sums_are_those_of_the_layer_alone():
    (got,) = of().blocks
    (expected,) = block_sums(MODEL.layers[1], S, seed=3, index=1, num_probes=4, name="layers.1")
    assert torch.equal(got.products, expected.products)
    assert torch.equal(got.squares, expected.squares)
    assert got.name == expected.name


def test_the_output_and_the_sizes_are_those_of_the_layer():
    found, y = of(), MODEL.layers[1](S).detach()
    assert torch.equal(found.output, y)
    assert not found.output.requires_grad
    assert found.sizes == pytest.approx([float(t.square().mean().sqrt()) for t in (S, y)])


def test_parts_and_numbers_have_the_model_s_names():
    found = of()
    assert {part.parameter for part in found.parts} == {
        f"layers.1.{name}" for name, _ in MODEL.layers[1].named_parameters()
    }
    assert found.summaries["layers.1.up.weight"].std == pytest.approx(0.02, rel=0.1)
    roles = {part.parameter: part.role for part in found.parts}
    assert roles["layers.1.up.weight"] == "reader"
    assert roles["layers.1.down.weight"] == "writer"


def test_the_stream_may_come_by_name():
    class Named(nn.Module):
        def forward(self, mask, hidden):
            return hidden + mask * torch.tanh(hidden)

    (got,) = of(Named(), (torch.ones((), dtype=torch.long),), hidden=S).blocks
    assert got.skip == 1


def test_a_layer_that_changes_the_shape_has_no_block():
    found = of(nn.Linear(22, 5))
    assert found.blocks == ()
    assert found.output.shape == (1, 6, 5)


def test_a_layer_without_a_stream_is_refused():
    with pytest.raises(ValueError, match="without a tensor of floating point"):
        of(nn.Embedding(9, 3), (IDS,))
