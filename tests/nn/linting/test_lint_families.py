import pytest
import torch
from torch import nn

import isometry as iso
from cases_families import FAMILIES, family
from cases_lint import decoder, tokens
from isometry import nn as inn

OFFLINE = pytest.mark.filterwarnings("ignore")


def worst(model, x):
    return [f"{f.parameter}: {f.message}" for f in inn.lint(model, x).worst()]


def test_there_are_many_families():
    assert len(FAMILIES) >= 50


@OFFLINE
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_at_its_own_initialisation_is_clean(name):
    pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    assert worst(*family(name)) == []


@OFFLINE
@pytest.mark.parametrize("name", ["GPT2", "T5", "Mixtral"])
def test_some_families_are_clean_in_the_fast_suite_too(name):
    pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    assert worst(*family(name)) == []


class Basic(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.short = nn.Conv2d(before, after, 1, stride) if before != after else nn.Identity()
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x):
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.short(x))


class Steps(nn.Module):
    def __init__(self, recurrent):
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.recurrent(x)[0])


def torch_layers():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
    blocks = [Basic(16, 16, 1) for _ in range(3)] + [Basic(16, 32, 2), Basic(32, 32, 1)]
    return {
        "encoder": (nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), (2, 8, 32)),
        "transformer": (nn.Transformer(32, 4, 3, 3, 64, batch_first=True), None),
        "lstm": (Steps(nn.LSTM(32, 16, 2, batch_first=True)), (2, 8, 32)),
        "gru": (Steps(nn.GRU(32, 16, 2, batch_first=True)), (2, 8, 32)),
        "resnet": (nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), *blocks), (1, 3, 16, 16)),
        "mlp": (nn.Sequential(*[nn.Linear(32, 32) for _ in range(4)]), (2, 32)),
    }


@pytest.mark.parametrize("name", ["encoder", "transformer", "lstm", "gru", "resnet", "mlp"])
def test_torchs_own_layers_are_clean(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, shape = torch_layers()[name]
        x = torch.randn(2, 2, 8, 32).unbind() if shape is None else torch.randn(shape)
    assert worst(model, tuple(x) if shape is None else x) == []


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_our_own_nets_are_clean(activation):
    source = torch.Generator().manual_seed(0)
    net = inn.ResNet(iso.ResNetSpec(activation, depth=12), 48, generator=source)
    assert worst(net, torch.randn(1, 48, generator=source)) == []


@pytest.mark.parametrize("rule", inn.baselines.__all__)
def test_the_known_rules_are_clean(rule):
    model, source = decoder(), torch.Generator().manual_seed(0)
    model.head = nn.Identity()
    plan = getattr(inn.baselines, rule)(model, tokens(), generator=source)
    assert worst(inn.apply_(model, plan), tokens()) == []


def test_a_model_with_its_c_set_is_clean():
    model, source = decoder(), torch.Generator().manual_seed(0)
    model.head = nn.Identity()
    assert worst(inn.residual_(model, tokens(), c=1.0, generator=source), tokens()) == []
