import torch
from torch import nn
from torch.nn.utils import parametrizations

from cases_modules import Residual
from isometry import nn as inn
from isometry.nn.init.refusals import fixed_size, unreachable


def block_of(body):
    return inn.residual_blocks(Residual(body), torch.ones(1, 4))[0]


def test_a_norm_is_named_with_the_map_that_it_undoes():
    text = fixed_size(nn.Linear(4, 4), block_of(nn.Linear(4, 4)), "body.weight", 0.25)
    assert text.startswith("`model` has a norm behind 'body.weight' in the branch of block")
    assert "c at 0.25 at any scale" in text


def test_a_parametrised_root_is_named_as_the_model():
    model = parametrizations.spectral_norm(nn.Linear(4, 4))
    name = "parametrizations.weight.original"
    block = block_of(nn.Linear(4, 4))
    block.parameters[name] = "reparametrised"
    text = fixed_size(model, block, name)
    assert "torch.nn.utils.parametrize.remove_parametrizations(model, 'weight')" in text


def test_a_jump_and_an_end_are_told_apart():
    block = block_of(nn.Linear(4, 4))
    assert "jumps from 0.1 to 0.3" in unreachable(block, 0.2, (1.0, 0.1), (1.001, 0.3))
    assert "has between 0.1 and 0.15" in unreachable(block, 0.2, (1.0, 0.1), (64.0, 0.15))
