import pytest
import torch
from torch import nn

from cases_lint import STD, WIDTH, Layer, decoder, edited, linted, redraw, tokens
from isometry import nn as inn

MAPS = ("attention.o", "down", "up")


def scaled(layers, chosen, names=MAPS[:2], factor=None):
    """Multiply maps of some layers; by the depth scaling unless a factor is given."""
    factor = factor or (2 * layers) ** 0.5

    def edit(i, layer):
        if i in chosen:
            for name in names:
                layer.get_submodule(name).weight.mul_(factor)

    return linted(edited(edit, layers))


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [(2, {0}), (2, {1}), (4, {0, 2}), (4, {0, 1}), (4, {2, 3}), (4, {0, 3}), (6, {1, 3, 5}),
     (8, {0, 1, 2, 3}), (8, {1, 2, 4, 7})],
)  # fmt: skip
def test_depth_scaling_of_half_of_the_layers_is_named_with_both_groups(layers, chosen):
    report = scaled(layers, chosen)
    assert [(f.rule, f.severity) for f in report.worst()] == [("depth", "warning")] * 2
    for found, name in zip(report.worst(), MAPS, strict=False):
        assert found.number == pytest.approx((2 * layers) ** -0.5, rel=0.04)
        assert "which is 1/sqrt(2L) = " in found.message
        small, large = found.message.split(", and ")
        for i in range(layers):
            assert f"layers.{i}.{name}" in (large if i in chosen else small)


@pytest.mark.parametrize(("layers", "chosen"), [(2, {1}), (4, {1, 2}), (6, {0, 1, 2})])
@pytest.mark.parametrize("factor", [2**0.5, 3.0])
def test_half_of_a_map_that_reads_is_named_too(layers, chosen, factor):
    report = scaled(layers, chosen, ["up"], factor)
    assert [f.rule for f in report.worst()] == ["role-scale"]
    assert report.worst()[0].number == pytest.approx(1 / factor, rel=0.03)


def test_a_factor_of_10_between_the_halves_is_an_error():
    assert [f.severity for f in scaled(4, {0, 2}, ["up"], 30).worst()] == ["error"]


@pytest.mark.parametrize("layers", [2, 4, 6, 8])
@pytest.mark.parametrize("law", [
    lambda i, _: (2 * (i + 1)) ** -0.5, lambda i, _: (i + 1) ** -0.5, lambda _, n: n**-0.25,
    lambda _, n: (9 * n) ** -0.25, lambda _, n: (8 * n) ** -0.25, lambda i, _: 0.7**i,
], ids=["torchtitan", "by number", "fixup", "t-fixup", "deepnorm", "decay"])  # fmt: skip
def test_laws_that_run_with_depth_are_left_alone(law, layers):
    def draw(i, layer):
        for place, name in enumerate(MAPS[:2]):
            weight = layer.get_submodule(name).weight
            redraw(weight, STD * law(i, layers), 10 * i + place)

    assert linted(edited(draw, layers)).worst() == ()


@pytest.mark.parametrize("rule", ["c", "stable_resnet", "lsuv"])
def test_two_layers_that_data_scale_each_are_left_alone(rule):
    model, source = decoder(layers=2), torch.Generator().manual_seed(0)
    model.head = nn.Identity()
    if rule == "c":
        inn.residual_(model, tokens(), c=1.0, generator=source)
    else:
        inn.apply_(model, getattr(inn.baselines, rule)(model, tokens(), generator=source))
    assert linted(model).worst() == ()


@pytest.mark.parametrize("layers", [2, 4])
def test_a_difference_of_4_percent_is_none(layers):
    assert scaled(layers, set(range(layers // 2)), MAPS, 1.04).worst() == ()


class Wider(Layer):
    """A layer with one map more, as every other layer of some models has."""

    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x):
        x = super().forward(x)
        return x + self.extra(torch.tanh(x))


@pytest.mark.parametrize("kinds", [(Layer, Wider), (Layer, Layer)])
def test_layers_that_are_built_differently_may_be_drawn_differently(kinds):
    model = nn.Sequential(*[kinds[i % 2]() for i in range(4)])
    for i, layer in enumerate(model):
        for place, p in enumerate(p for p in layer.parameters() if p.ndim == 2):
            redraw(p, STD * (0.5 if i % 2 else 1), 10 * i + place)
    report = inn.lint(model, torch.randn(2, 8, WIDTH, generator=torch.Generator().manual_seed(0)))
    assert len([f for f in report.worst() if f.rule in ("role-scale", "depth")]) == (
        7 if kinds[1] is Layer else 0
    )
