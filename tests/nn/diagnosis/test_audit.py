import torch
from torch import nn

from isometry import nn as inn
from isometry.nn.diagnosis.audit import audit_parameters


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.layer_scale = nn.Parameter(torch.full((4, 1, 1), 0.1))
        self.position = nn.Parameter(torch.zeros(4, 3, 3))
        self.matrix = nn.Parameter(torch.full((4, 4), 0.1))

    def forward(self, x):
        y = self.conv(x + self.position) + torch.einsum("oi,bihw->bohw", self.matrix, x)
        return x + self.layer_scale * y


def test_only_linear_maps_are_noted_for_being_constant():
    model = nn.Sequential(Scaled(), Scaled())
    x = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    found = inn.diagnose(model, x, generator=torch.Generator().manual_seed(0)).parameters
    assert [(f.name, f.finding) for f in found] == [
        ("0.matrix", "is constant at 0.1"), ("1.matrix", "is constant at 0.1"),
    ]  # fmt: skip


def test_without_a_pass_every_matrix_is_a_map():
    named = {"scale": torch.full((4, 1, 1), 0.1), "bias": torch.zeros(4)}
    assert [f.name for f in audit_parameters(named)] == ["scale"]
    assert audit_parameters(named, maps=()) == []
