import copy
import functools

import pytest
import torch
from torch import nn

from cases_models import MODELS, make
from cases_modules import Gate, Residual, UNet, mlp, stack
from isometry.nn.blocks.blocks import residual_blocks, residual_stream


@functools.cache
def stream_of(name):
    row = MODELS[name]
    model, x = make(row.build, row.shape)
    return row, residual_stream(model, x, batch_norm=row.batch_norm)


@pytest.mark.parametrize("name", MODELS)
def test_the_blocks_of_every_model_family_are_found(name):
    row, stream = stream_of(name)
    assert len(stream.blocks) == row.blocks
    assert [block.index for block in stream.blocks] == list(range(row.blocks))
    assert stream.blocks[-1].name == row.name
    assert len({block.name for block in stream.blocks}) == row.blocks
    assert stream.blocks[-1].skip == pytest.approx(row.skip, rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_what_the_law_leaves_out_is_said(name):
    row, stream = stream_of(name)
    assert row.remark in stream.remark
    assert bool(row.remark) == bool(stream.remark)
    assert (len(stream.stages) > 1) == bool(stream.remark)


@pytest.mark.parametrize("name", MODELS)
def test_the_last_parameters_of_a_branch_come_in_order(name):
    row, stream = stream_of(name)
    block = stream.blocks[-1]
    assert block.last == row.last
    assert {name for term in block.last for name in term} <= set(block.parameters)


def dense(branch, x):
    return torch.func.jacrev(branch)(x).reshape(x.numel(), x.numel())


def double(build, shape):
    model, x = make(build, shape)
    return model.double().eval(), x.double()


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_products_agree_with_the_dense_branch_jacobian(gain):
    model, x = double(lambda: stack(lambda: Residual(mlp(6, 9), skip=0.8, gain=gain)), (2, 6))
    block = residual_blocks(model, x)[1]
    X = gain * dense(model[1].body, model[0](x))
    probes = torch.eye(12, dtype=torch.float64).reshape(12, 2, 6)
    # float64 rounding of a handful of products of order one
    torch.testing.assert_close(block.vjp(probes).reshape(12, 12), X, rtol=0, atol=1e-14)
    torch.testing.assert_close(block.jvp(probes).reshape(12, 12), X.T, rtol=0, atol=1e-14)


def test_the_trunk_multiplies_all_blocks():
    model, x = double(MODELS["sequential"].build, (2, 5))
    stream = residual_stream(model, x)
    J = dense(model[1], model[0](x))
    probes = torch.eye(16, dtype=torch.float64).reshape(16, 2, 8)
    torch.testing.assert_close(stream.trunk.vjp(probes).reshape(16, 16), J, rtol=0, atol=1e-13)
    torch.testing.assert_close(stream.trunk.jvp(probes).reshape(16, 16), J.T, rtol=0, atol=1e-13)


def test_an_operation_without_batched_products_is_looped_over():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * torch.from_numpy(3 * x.detach().numpy() ** 2)

    x = torch.tensor([1.0, 2.0])
    (block,) = residual_blocks(lambda x: x + Cube.apply(x), x)
    torch.testing.assert_close(block.vjp(torch.eye(2)), torch.tensor([[3.0, 0.0], [0.0, 12.0]]))


def test_a_zero_gate_gives_a_zero_branch():
    model, x = make(MODELS["rezero"].build, (2, 8))
    assert residual_blocks(model, x)[0].vjp(torch.randn(3, 2, 8)).count_nonzero() == 0


def test_roles_tell_weights_gains_and_biases_apart():
    model, x = make(lambda: Gate(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)), 0.5), (2, 8))
    assert dict(residual_blocks(model, x)[0].parameters) == {
        "alpha": "gain",
        "body.1.bias": "bias",
        "body.1.weight": "linear",
        "body.0.weight": "norm",
        "body.0.bias": "bias",
    }


def test_a_reparametrised_weight_is_told_apart():
    norm = torch.nn.utils.parametrizations.weight_norm
    model, x = make(lambda: Residual(norm(nn.Linear(8, 8))), (2, 8))
    roles = residual_blocks(model, x)[0].parameters
    assert roles["body.parametrizations.weight.original0"] == "reparametrised"


def test_the_gain_of_the_skip_is_no_parameter_of_the_branch():
    skip = nn.Parameter(torch.tensor(0.9))
    model, x = make(lambda: Residual(nn.Linear(8, 8), skip=skip), (2, 8))
    (block,) = residual_blocks(model, x)
    assert block.skip == pytest.approx(0.9)
    assert "skip" not in block.parameters


def test_a_frozen_model_has_the_same_parameters():
    model, x = make(MODELS["gpt2"].build, MODELS["gpt2"].shape)
    free = residual_blocks(model, x)
    frozen = residual_blocks(model.requires_grad_(False), x)
    assert [block.parameters for block in free] == [block.parameters for block in frozen]


def test_blocks_on_a_path_of_their_own_can_be_named():
    model, x = make(UNet, (1, 3, 4, 4))
    stream = residual_stream(model, x, blocks=["inner"])
    assert stream.trunk.source_shape == (1, 4, 2, 2)


def test_a_stream_that_is_changed_in_place_is_followed():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

        def forward(self, x):
            for linear in self.maps:
                x += torch.relu_(linear(torch.tanh(x)))
                x.mul_(0.9)
            return x

    model, x = double(InPlace, (1, 6))
    blocks = residual_blocks(model, x)
    assert [block.skip for block in blocks] == pytest.approx([0.9] * 3)
    X = 0.9 * dense(lambda x: torch.relu(model.maps[0](torch.tanh(x))), x)
    probes = torch.eye(6, dtype=torch.float64).reshape(6, 1, 6)
    torch.testing.assert_close(blocks[0].vjp(probes).reshape(6, 6), X)


def test_no_blocks_at_all_are_refused():
    model, x = make(MODELS["sequential"].build, (2, 5))
    with pytest.raises(ValueError, match="`blocks` is empty"):
        residual_blocks(model, x, blocks=[])


def snapshot(model):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [(p.requires_grad, p.grad is None, id(p)) for p in model.parameters()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    attributes = [sorted(vars(m)) for m in model.modules()]
    return state, flags, hooks, attributes, torch.get_rng_state(), model.training


@pytest.mark.parametrize("name", ["preactivation", "gpt2", "resnet basic"])
@pytest.mark.parametrize("fail", [False, True])
def test_the_model_and_the_global_generator_are_left_as_they_were(name, fail):
    row = MODELS[name]
    model, x = make(row.build, row.shape)
    before = copy.deepcopy(snapshot(model))
    if fail:
        with pytest.raises((ValueError, RuntimeError, IndexError)):
            residual_blocks(model, x[..., :1], batch_norm="batch", blocks=["no such name"])
    else:
        block = residual_blocks(model, x, batch_norm=row.batch_norm)[0]
        block.jvp(torch.ones(2, *block.shape))
    after = snapshot(model)
    assert after[1:4] == before[1:4]
    assert torch.equal(after[4], before[4])
    assert all(torch.equal(after[0][key], value) for key, value in before[0].items())
