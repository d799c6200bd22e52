import pytest
import torch

from cases_lint import Bank, Listed, decoder, edited, linted, mixtures, named
from isometry import nn as inn


def put(value, where=4):
    return lambda i, layer: layer.up.weight[0, 0].fill_(value) if i == where else None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (edited(put(float("nan"))), "NaN"),
        (edited(lambda i, la: la.up.weight.mul_(1e6) if i == 4 else None), "huge"),
        (edited(lambda i, la: la.up.weight.mul_(1e-30) if i == 4 else None), "tiny"),
    ],
    ids=["nan", "huge", "tiny"],
)
def test_values_of_no_initialisation_are_errors(model, said):
    found = [f for f in linted(model).findings if f.rule == "value"]
    assert [(f.parameter, f.severity) for f in found] == [("layers.4.up.weight", "error")]
    assert said in found[0].message


def test_the_right_decoder_has_no_error_and_no_warning():
    assert linted(decoder()).worst() == ()


def test_a_zero_layer_among_others_is_a_warning_and_all_zero_writers_a_note():
    one = linted(edited(lambda i, layer: layer.up.weight.zero_() if i == 3 else None))
    assert named(one, "zero") == ["layers.3.up.weight"]
    every = linted(edited(lambda i, layer: layer.down.weight.zero_()))
    assert named(every, "zero") == []
    assert len(named(every, "zero", "note")) == 6


def test_two_zeros_in_a_row_are_dead():
    report = linted(
        edited(lambda i, layer: [p.zero_() for p in (layer.up.weight, layer.down.weight)])
    )
    assert len(named(report, "zero")) == 12
    assert "no gradient reaches it" in report.of("warning")[0].message


def test_constant_and_rank_one_maps_are_symmetric():
    constant = linted(edited(lambda i, layer: layer.up.weight.fill_(0.02)))
    assert len(named(constant, "symmetry")) == 6
    outer = torch.outer(torch.linspace(-0.3, 0.2, 176), torch.linspace(-0.1, 0.4, 64))
    rank_one = linted(edited(lambda i, layer: layer.gate.weight.copy_(outer)))
    assert len(named(rank_one, "symmetry")) == 6


def dyad(parameter):
    """Give a matrix the rank one and leave its size."""
    source = torch.Generator().manual_seed(3)
    columns, rows = (torch.randn(n, generator=source) for n in parameter.shape)
    outer = torch.outer(columns, rows)
    parameter.copy_(outer * parameter.std() / outer.std())


@pytest.mark.parametrize("name", ["up", "down"])
def test_an_expert_of_rank_one_is_named_in_a_bank_and_in_a_list(name):
    bank = mixtures(Bank, lambda model: dyad(getattr(model[1], name)[2]))
    assert [(f.rule, f.parameter) for f in bank.worst()] == [("symmetry", f"1.{name}[2]")]
    for number in range(6):  # one token reaches two of them
        edit = lambda model, n=number: dyad(getattr(model[1].experts[n], name))  # noqa: E731
        found = mixtures(Listed, edit, tokens=1).worst()
        assert [(f.rule, f.parameter) for f in found] == [
            ("symmetry", f"1.experts.{number}.{name}")
        ]


def test_a_constant_expert_is_one_of_rank_one_and_of_nothing_else():
    found = mixtures(Bank, lambda model: model[1].up[2].fill_(0.2)).worst()
    assert [(f.rule, f.parameter) for f in found] == [("symmetry", "1.up[2]")]


def test_an_expert_of_rank_two_is_left_alone():
    def edit(model):
        left, s, right = torch.linalg.svd(model[1].up[2], full_matrices=False)
        s[2:] = 0
        s *= model[1].up[2].norm() / s.norm()
        model[1].up[2].copy_(left * s @ right)

    assert mixtures(Bank, edit).worst() == ()


def test_few_levels_are_a_cast_and_bfloat16_is_a_note():
    def rounded(kind):
        return linted(edited(lambda i, la: la.up.weight.copy_(la.up.weight.to(kind).float())))

    assert len(named(rounded(torch.float8_e4m3fn), "dtype")) == 6
    assert named(rounded(torch.bfloat16), "dtype") == []
    assert named(rounded(torch.bfloat16), "dtype", "note") == ["layers.0.up.weight"]
    assert named(linted(decoder().bfloat16().float()), "dtype") == []


def test_a_vector_and_a_layer_scale_may_be_constant():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(4, 4, 3, padding=1)
            self.scale = torch.nn.Parameter(torch.full((4, 1, 1), 0.1))
            self.position = torch.nn.Parameter(torch.zeros(4, 3, 3))
            self.matrix = torch.nn.Parameter(torch.full((4, 4), 0.1))

        def forward(self, x):
            mixed = torch.einsum("oi,bihw->bohw", self.matrix, x)
            return x + self.scale * (self.conv(x + self.position) + mixed)

    x = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    found = inn.lint(torch.nn.Sequential(Scaled(), Scaled()), x)
    assert [f.parameter for f in found.worst()] == ["0.matrix", "1.matrix"]


def test_a_drawn_layer_among_zeros_is_named():
    one = linted(edited(lambda i, layer: layer.down.weight.zero_() if i != 3 else None))
    assert named(one, "zero") == ["layers.3.down.weight"]
    assert "while 5 of its siblings are" in one.of("warning")[0].message
