import copy
import functools
import re

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cases_models import MODELS, NOT_RESIDUAL, make
from cases_modules import Gate, Parallel, Residual, UNet, mlp, stack
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


@pytest.mark.parametrize("name", NOT_RESIDUAL)
def test_a_model_without_residual_blocks_is_refused_with_the_reason(name):
    build, shape, reason = NOT_RESIDUAL[name]
    model, x = make(build, shape)
    with pytest.raises(ValueError, match=re.escape(reason)):
        residual_blocks(model, x)


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


def test_a_function_has_the_names_inside_the_module_it_calls():
    model, x = make(MODELS["gpt2"].build, MODELS["gpt2"].shape)
    inner = model.model
    blocks = residual_blocks(lambda e: inner(inputs_embeds=e).last_hidden_state, x)
    assert blocks[3].name == "h.1.mlp"
    assert blocks[3].last == (("h.1.mlp.c_proj.weight",),)


def test_a_plain_function_has_blocks_without_names():
    W = torch.eye(3)
    blocks = residual_blocks(lambda x: x + torch.tanh(x @ W) - torch.sin(x), torch.ones(1, 3))
    assert repr(blocks) == "[Block('block 0', skip=1, shape=(1, 3))]"


def test_an_activation_that_looks_like_a_skip_is_no_block():
    class Snake(nn.Module):
        def forward(self, x):
            return x + torch.sin(x) ** 2

    model, x = make(lambda: nn.Sequential(nn.Linear(4, 4), Snake(), nn.Linear(4, 4)), (1, 4))
    with pytest.raises(ValueError, match="no residual block"):
        residual_blocks(model, x)


def test_a_named_module_can_be_the_whole_block_or_its_branch():
    model, x = double(MODELS["sequential"].build, (2, 5))
    U = torch.randn(3, 2, 8, dtype=torch.float64)
    (found,) = residual_blocks(model, x)[1:2]
    for named in ("1.1", "1.1.body", model[1][1], model[1][1].body):
        (block,) = residual_blocks(model, x, blocks=[named])
        assert block.skip == 1.0
        torch.testing.assert_close(block.vjp(U), found.vjp(U))
        torch.testing.assert_close(block.jvp(U), found.jvp(U))


def test_a_named_layer_with_two_residual_sums_is_one_block():
    model, x = double(MODELS["gpt2"].build, MODELS["gpt2"].shape)
    stream = residual_stream(model, x, blocks=["model.h.0", "model.h.1"])
    assert [block.name for block in stream.blocks] == ["model.h.0", "model.h.1"]
    assert stream.blocks[1].last[0] == ("model.h.1.mlp.c_proj.weight",)
    whole = residual_stream(model, x)
    U = torch.randn(2, 1, 3, 16, dtype=torch.float64)
    torch.testing.assert_close(stream.trunk.vjp(U), whole.trunk.vjp(U))
    torch.testing.assert_close(
        stream.blocks[1].vjp(U) + U, whole.blocks[2].vjp(g := whole.blocks[3].vjp(U) + U) + g
    )


BAD_BLOCKS = {
    "unknown": (["1.7"], ValueError, r"'1\.7', which the model does not call.*Did you mean '1"),
    "foreign": ([nn.Linear(2, 2)], ValueError, "'Linear', which the model does not call"),
    "outside": (["0"], ValueError, "'0', whose output is neither a multiple of its input plus"),
    "overlapping": (["1", "1.1"], ValueError, r"'1\.1' and '1', which do not follow one another"),
}


@pytest.mark.parametrize("case", BAD_BLOCKS)
def test_blocks_that_cannot_be_used_are_refused(case):
    blocks, error, match = BAD_BLOCKS[case]
    model, x = make(MODELS["sequential"].build, (2, 5))
    with pytest.raises(error, match=match):
        residual_blocks(model, x, blocks=blocks)


def test_parallel_branches_are_one_block_however_they_are_named():
    model, x = make(lambda: Parallel(8), (2, 8))
    (block,) = residual_blocks(model, x, blocks=["left", "right"])
    (found,) = residual_blocks(model, x)
    assert block.last == found.last


def test_a_sum_that_is_not_seen_is_verified_by_a_product():
    class StackSum(nn.Module):
        def __init__(self, skip):
            super().__init__()
            self.body, self.skip = nn.Linear(8, 8), skip

        def forward(self, x):
            return torch.stack([self.skip * x, self.body(x)]).sum(0)

    model, x = double(lambda: stack(lambda: StackSum(0.7)), (2, 8))
    with pytest.raises(ValueError, match="join in 3 x Stack of 3 operations"):
        residual_blocks(model, x)
    names = [f"{i}.body" for i in range(3)]
    stream = residual_stream(model, x, blocks=names)
    assert stream.remark == ""
    assert [block.skip for block in stream.blocks] == pytest.approx([0.7] * 3)
    U = torch.randn(4, 2, 8, dtype=torch.float64)
    torch.testing.assert_close(stream.blocks[1].vjp(U), U @ model[1].body.weight.detach())
    torch.testing.assert_close(stream.blocks[1].jvp(U), U @ model[1].body.weight.detach().T)
    model[1].skip = torch.linspace(0.5, 1.0, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"'1\.body', whose output is neither"):
        residual_blocks(model, x, blocks=names)


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


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoints_are_looked_into(use_reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = stack(lambda: Residual(mlp(6, 9)))

        def forward(self, x):
            for layer in self.layers:
                x = checkpoint(layer, x, use_reentrant=use_reentrant)
            return x

    model, x = double(Checkpointed, (1, 6))
    blocks = residual_blocks(model.requires_grad_(False), x)
    assert [block.name for block in blocks] == ["layers.0", "layers.1", "layers.2"]
    probes = torch.eye(6, dtype=torch.float64).reshape(6, 1, 6)
    X = dense(model.layers[0].body, x)
    torch.testing.assert_close(blocks[0].vjp(probes).reshape(6, 6), X)


def test_no_blocks_at_all_are_refused():
    model, x = make(MODELS["sequential"].build, (2, 5))
    with pytest.raises(ValueError, match="`blocks` is empty"):
        residual_blocks(model, x, blocks=[])


BAD_CALLS = {
    "tokens": (lambda x: x + 1, torch.tensor([1]), TypeError, "`x` has dtype torch.int64"),
    "no tensor": (lambda x: {"y": 1}, torch.ones(2), TypeError, "returns a dict"),
    "constant": (lambda x: torch.ones(2), torch.ones(2), ValueError, "does not depend on `x`"),
    "dropout": (nn.Dropout(0.5), torch.ones(9), ValueError, "dropout in train mode"),
    "random": (lambda x: x + torch.randn(9), torch.ones(9), ValueError, "different results when"),
    "nan": (lambda x: x / 0 * 0, torch.ones(2), ValueError, "NaN or infinite entries"),
    "batch": (nn.BatchNorm1d(3), torch.ones(2, 3), ValueError, "`batch_norm` is None"),
    "wide": (nn.Linear(3, 3), torch.ones(3).double(), TypeError, "dtype torch.float64"),
    "short": (nn.Linear(3, 3), torch.ones(2), RuntimeError, "shape"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_what_cannot_be_recorded_is_refused(case):
    f, x, error, match = BAD_CALLS[case]
    with pytest.raises(error, match=match):
        residual_blocks(f, x)


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


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_a_compiled_model_is_recorded_as_it_was_written():
    model, x = make(MODELS["sequential"].build, (2, 5))
    assert len(residual_blocks(torch.compile(model), x)) == 3


def test_no_hook_is_left_behind():
    model = nn.Sequential(*[Residual(nn.Linear(4, 4)) for _ in range(2)])
    residual_blocks(model, torch.randn(1, 4, generator=torch.Generator().manual_seed(0)))
    kept = {k: v for k, v in vars(nn.modules.module).items() if k.startswith("_global_") and v}
    assert kept == {}
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs")
    assert not any(getattr(m, name) for m in model.modules() for name in hooks)
