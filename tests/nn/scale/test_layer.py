import pytest
import torch
from torch import nn

from isometry.nn.scale.layer import inner, run_layer


def test_a_layer_that_works_in_place_leaves_the_stream_alone():
    s = torch.ones(2, 3)
    layer = run_layer(lambda s: s.add_(s.tanh()), s, {})
    assert torch.equal(s, torch.ones(2, 3))
    assert len(layer.pieces) == 1


def test_what_a_rank_holds_of_a_factor_does_not_change_the_blocks():
    def layer(gate):
        def run(s):
            first = s + s.tanh()
            return first + first.tanh() + gate * s

        return run

    s = torch.ones(2, 3)
    seen = [len(run_layer(layer(torch.full((3,), g)), s, {}).pieces) for g in (0.0, 0.1)]
    assert seen == [1, 1]

    def alone(s):
        first = s + s.tanh()
        return first + first.tanh()

    assert len(run_layer(alone, s, {}).pieces) == 2


def test_a_layer_that_does_not_depend_on_the_stream_is_refused():
    with pytest.raises(ValueError, match=r"`the layer` returns what does not depend.*`blocks=`"):
        run_layer(lambda s: torch.ones(3, requires_grad=True) * 2, torch.ones(3), {})


def test_a_layer_that_returns_no_tensor_is_refused():
    with pytest.raises(TypeError, match="returns a str"):
        run_layer(lambda s: "no", torch.ones(3), {})


def test_the_layers_hooks_are_gone_after_an_error():
    class Broken(nn.Linear):
        def forward(self, s):
            raise RuntimeError("broken")

    layer = Broken(3, 3)
    with pytest.raises(RuntimeError, match="broken"):
        run_layer(layer, torch.ones(3), {layer: "layer"})
    assert not layer._forward_hooks


def test_inner_products_of_sixteen_bits_are_summed_in_float64():
    x = torch.full((2**16,), 0.1, dtype=torch.bfloat16)
    assert float(inner(x, x)) == pytest.approx(2**16 * float(x[0]) ** 2, rel=1e-12)
