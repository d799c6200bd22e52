import pytest
import torch
from torch import nn

from isometry import nn as inn
from isometry.nn.diagnosis.audit import audit_parameters

AUDIT = {
    "nan": (torch.tensor([[1.0, torch.nan]]), "NaN"),
    "huge": (torch.full((3, 3), 1e6), "huge"),
    "tiny": (1e-30 * torch.ones(3, 3), "tiny"),
    "zero": (torch.zeros(3, 3), "all zero"),
    "constant": (torch.full((3, 3), 0.5), "constant at 0.5"),
}


@pytest.mark.parametrize("name", AUDIT)
def test_a_parameter_that_stands_out_is_found(name):
    value, finding = AUDIT[name]
    found = audit_parameters({"fine": torch.eye(3), "it": value, "bias": torch.zeros(3)})
    assert [f.name for f in found] == ["it"]
    assert finding in str(found[0])


def test_a_parameter_off_scale_among_its_siblings_is_found():
    named = {f"h.{i}.weight": torch.eye(4) * (10.0 if i == 3 else 1.0) for i in range(5)}
    found = audit_parameters(named)
    assert [(f.name, f.finding) for f in found] == [
        ("h.3.weight", "is off scale: 10 times the median size of its 4 siblings")
    ]


def test_overflow_of_a_sum_of_squares_is_not_taken_for_an_infinite_entry():
    found = audit_parameters({"it": torch.full((2, 2), 1e30)})
    assert "is huge" in found[0].finding


def test_a_parameter_that_is_constant_but_for_one_entry_is_not_called_constant():
    almost = torch.full((4, 4), 0.5)
    almost[2, 1] = 0.6
    assert audit_parameters({"it": almost}) == []


def test_a_vector_of_equal_entries_is_what_normalisation_layers_start_with():
    assert audit_parameters({"norm": torch.ones(9)}) == []


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
