import pytest
import torch
from torch import nn
from torch.nn import functional

from isometry.nn.roles.uses import WeightMap, linear_maps, standard_maps


class Uses(nn.Module):
    """A parameter of every kind, each used the way it is named."""

    def __init__(self):
        super().__init__()
        for name, shape in SHAPES.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(6, 10))
        self.table, self.modulation = nn.Embedding(3, 6), nn.Linear(6, 12)
        self.conv, self.idle = nn.Conv2d(6, 12, 3, groups=2, padding=1), nn.Linear(2, 5)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        shift, gain = self.modulation(self.table(torch.tensor([1]))).chunk(2, -1)
        x = x * (1 + gain) + shift * self.mixing
        x = x + sum(
            functional.linear(functional.linear(x, self.up[e], self.up_bias[e]), self.down[e])
            for e in range(3)
        )
        rows = x.reshape(1, -1, 6).expand(3, -1, -1)
        x = x + torch.bmm(torch.bmm(rows, self.into), self.out_of).sum(0).reshape(x.shape)
        heads = torch.einsum("btd,dhk->bthk", x, self.heads)
        x = x + torch.einsum("bthk,hkd->btd", heads, self.merged)
        x = x + functional.linear(x, self.masked * torch.ones(6, 6)) + x @ self.raw @ self.raw.T
        image = x.transpose(1, 2).unsqueeze(-1) * self.layer_scale
        return self.normed(x).sum() + self.conv(image).sum()


SHAPES = {
    "token": (1, 1, 6), "position": (1, 5, 6), "mixing": (1, 1, 6), "layer_scale": (6, 1, 1),
    "up": (3, 10, 6), "up_bias": (3, 10), "down": (3, 6, 10), "into": (3, 6, 8),
    "out_of": (3, 8, 6), "heads": (6, 2, 4), "merged": (2, 4, 6), "masked": (6, 6), "raw": (6, 7),
}  # fmt: skip
EXPECTED = {
    "up": WeightMap(6, 10, (0, 1, 2), 1, "up_bias"),
    "down": WeightMap(10, 6, (0, 1, 2), 1),
    "into": WeightMap(6, 8, (0, 2, 1), 1),
    "out_of": WeightMap(8, 6, (0, 2, 1), 1),
    "heads": WeightMap(6, 8, (1, 2, 0)),
    "merged": WeightMap(8, 6, (2, 0, 1)),
    "masked": WeightMap(6, 6, (0, 1)),
    "raw": WeightMap(6, 7, (1, 0)),
    "normed.parametrizations.weight.original1": WeightMap(6, 10, (0, 1), bias="normed.bias"),
    "modulation.weight": WeightMap(6, 12, (0, 1), bias="modulation.bias"),
    "conv.weight": WeightMap(27, 108, (0, 1, 2, 3), bias="conv.bias", kernel=True),
    "idle.weight": WeightMap(2, 5, (0, 1), bias="idle.bias"),
}


def found(model, x):
    parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
    return linear_maps(parameters, x, model, modules)


def test_maps_are_what_is_summed_over_and_nothing_else_is_one():
    maps = found(Uses(), torch.randn(2, 4, 6))
    assert maps == EXPECTED


def test_a_sum_over_a_part_of_an_axis_is_no_map_of_the_whole_parameter():
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.Parameter(torch.rand(5, 5))

        def forward(self, x):
            return torch.einsum("j,jbd->bd", self.weights[3][:2], torch.stack([x, 2 * x]))

    assert found(Parts(), torch.randn(2, 6)) == {}


def test_maps_are_listed_in_the_order_in_which_they_run():
    names = list(found(Uses(), torch.randn(2, 4, 6)))
    assert names[0] == "modulation.weight"
    assert names.index("up") < names.index("down") < names.index("into") < names.index("out_of")
    assert names[-1] == "idle.weight"


def test_a_model_that_cannot_be_followed_is_described_by_its_modules():
    model = nn.Sequential(nn.Linear(4, 6), nn.ConvTranspose1d(3, 5, 2))
    maps = found(model, torch.ones(1))  # the shapes do not fit, so the pass fails
    assert maps["0.weight"] == WeightMap(4, 6, (0, 1), bias="0.bias")
    assert maps["1.weight"] == WeightMap(6, 10, (0, 1, 2), bias="1.bias", kernel=True)
    assert maps == standard_maps(dict(model.named_parameters()), dict(model.named_modules()))


@pytest.mark.parametrize("name", [name for name in EXPECTED if name in SHAPES])
def test_rows_hold_what_one_output_sums_over(name):
    parameter, described = torch.randn(SHAPES[name]), EXPECTED[name]
    rows = described.rows(parameter)
    assert rows.shape[1] == described.fan_in
    factors = torch.arange(1.0, 1 + len(rows))
    spread = described.spread(factors, parameter)
    assert spread.shape == parameter.shape
    torch.testing.assert_close(described.rows(spread * parameter), factors[:, None] * rows)
