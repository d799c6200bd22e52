from collections import Counter

import torch
from torch import nn

from cases_lint import Bank, decoder, tokens
from isometry import nn as inn


def roles(model, x):
    return {part.name: part.role for part in inn.lint(model, x).parts}


def test_the_roles_of_a_decoder():
    found = Counter(roles(decoder(), tokens()).values())
    assert found == {
        "norm gain": 13, "reader": 24, "writer": 12, "gate": 6, "head": 1, "buffer": 6,
    }  # fmt: skip


def test_the_parts_of_torchs_attention_and_its_biases():
    layer = nn.TransformerDecoderLayer(16, 2, 24, batch_first=True)
    x = torch.randn(2, 2, 5, 16, generator=torch.Generator().manual_seed(0))
    report = inn.lint(layer, (x[0], x[1]))
    attention = {p.name: p.attention for p in report.parts if "in_proj_weight" in p.name}
    assert list(attention.values()) == ["query", "key", "value"] * 2
    assert roles(layer, (x[0], x[1]))["norm1.weight"] == "norm gain"
    assert roles(layer, (x[0], x[1]))["linear2.bias"] == "bias"


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.position = nn.Embedding(9, 8), nn.Parameter(torch.zeros(1, 4, 8))
        self.token, self.decay = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.ones(8))
        self.depthwise = nn.Conv1d(8, 8, 3, padding=1, groups=8)
        self.inner, self.out = nn.Linear(8, 8), nn.Linear(8, 8)
        self.mid, self.scale = nn.Linear(8, 8), nn.Parameter(torch.ones(8))
        self.head = nn.Linear(8, 9, bias=False)
        self.head.weight = self.table.weight
        self.never = nn.Parameter(torch.zeros(3))

    def forward(self, ids):
        x = self.table(ids) + self.position
        x = torch.cat([self.token.expand(len(x), 1, 8), x], 1)
        mixed = self.depthwise(x.transpose(1, 2)).transpose(1, 2) * self.decay.exp()
        x = x + self.scale * self.out(torch.relu(self.mid(torch.relu(self.inner(mixed)))))
        return self.head(x)


def test_the_roles_of_everything_else():
    found = inn.lint(Mixed(), torch.arange(8).reshape(2, 4))
    said = {part.parameter: part.role for part in found.parts}
    assert said["position"] == "position"
    assert said["token"] == "embedding"
    assert said["decay"] == "recurrence"
    assert said["depthwise.weight"] == "depthwise"
    assert said["mid.weight"] == "inner"
    assert said["out.weight"] == "writer"
    assert said["scale"] == "scale"
    assert said["never"] == "unused"
    tied = next(part for part in found.parts if part.parameter == "table.weight")
    assert (tied.role, tied.tied) == ("head", ("embedding",))


def test_a_router_and_a_bank_of_experts():
    source = torch.Generator().manual_seed(0)
    model = nn.Sequential(Bank(source), Bank(source))
    x = torch.randn(8, 16, generator=source)
    found = {part.parameter: part for part in inn.lint(model, x).parts}
    assert found["0.router.weight"].role == "router"
    assert found["0.up"].role == "reader"
    assert found["0.down"].role == "writer"
    assert found["0.down"].bank


def test_without_an_input_modules_tell_what_they_are():
    found = {part.parameter: part.role for part in inn.lint(decoder()).parts}
    assert found["layers.0.up.weight"] == "map"
    norm = inn.lint(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Embedding(3, 2)))
    assert [part.role for part in norm.parts] == ["map", "bias", "norm gain", "bias", "embedding"]
