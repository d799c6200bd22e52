import pytest
import torch
from torch import nn

from cases_models import MODELS, make
from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.names import join_names, unique
from isometry.nn.blocks.recording import ModuleCall


def calls(*names, module=nn.Linear):
    return [
        ModuleCall(module(2, 2) if module is nn.Linear else module(), name, (), ())
        for name in names
    ]


@pytest.mark.parametrize(
    ("names", "joined"),
    [
        (("h.3.attn", "h.3.mlp"), "h.3 (attn, mlp)"),
        (("h.3", "h.3.mlp"), "h.3"),
        (("h.3.attn.query", "h.3.attn", "h.3.mlp"), "h.3 (attn, mlp)"),
        (("left", "right"), "(left, right)"),
        (("h.1", "h.10"), "h (1, 10)"),  # a common beginning of two words is no parent
        (("h.3.mlp", "h.3.mlp"), "h.3.mlp"),
        ((), ""),
    ],
)
def test_modules_are_named_by_their_parent_and_its_outermost_children(names, joined):
    assert join_names(calls(*names)) == joined


def test_modules_without_a_matrix_are_left_out_where_others_have_one():
    light = calls("h.3.act", module=nn.ReLU)
    assert join_names([*light, *calls("h.3.fc", "h.3.proj")]) == "h.3 (fc, proj)"
    assert join_names(light) == "h.3.act"


def test_names_that_occur_twice_are_numbered_and_empty_ones_filled_in():
    assert unique(["h", "", "g", "h"]) == ["h [1]", "block 1", "g", "h [2]"]


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
