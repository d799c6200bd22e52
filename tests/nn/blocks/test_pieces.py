import re

import pytest
import torch
from torch import nn

from cases_models import MODELS, NOT_RESIDUAL, make
from cases_modules import Parallel, stack
from isometry.nn.blocks.blocks import residual_blocks, residual_stream
from isometry.nn.blocks.pieces import summary


def double(build, shape):
    model, x = make(build, shape)
    return model.double().eval(), x.double()


@pytest.mark.parametrize("name", NOT_RESIDUAL)
def test_a_model_without_residual_blocks_is_refused_with_the_reason(name):
    build, shape, reason = NOT_RESIDUAL[name]
    model, x = make(build, shape)
    with pytest.raises(ValueError, match=re.escape(reason)):
        residual_blocks(model, x)


def test_transitions_are_counted_by_kind_and_placed_where_the_first_one_is():
    found = [("ReLU", "at `1`"), ("batch norm", ""), ("ReLU", "at `2`")]
    assert summary(found) == "2 x ReLU (first at `1`), batch norm"
    many = [(kind, "") for kind in ("A", "B", "C", "D", "E")]
    assert summary(many) == "A, B, C and 2 other operations"


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
