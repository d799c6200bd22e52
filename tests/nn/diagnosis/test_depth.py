import math

import pytest
import torch
from torch import nn

from isometry import nn as inn


class Block(nn.Module):
    def __init__(self, width, scale):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.scale = scale

    def forward(self, x):
        return x + self.scale * self.b(torch.relu(self.a(self.norm(x))))


def net(depth, width=32, scale=1.0):
    source = torch.Generator().manual_seed(depth + width)
    model = nn.Sequential(*[Block(width, scale) for _ in range(depth)])
    for p in model.parameters():
        if p.ndim > 1:
            nn.init.normal_(p, std=(2 / width) ** 0.5, generator=source)
        elif p.std() > 0:
            nn.init.zeros_(p)
    return model


def x(width=32):
    return torch.randn(4, width, generator=torch.Generator().manual_seed(0))


def seeded():
    return torch.Generator().manual_seed(0)


def test_c_of_unscaled_branches_grows_and_of_scaled_ones_is_flat():
    depths = (4, 8, 16, 32)
    scaled = inn.depth_check(lambda d: net(d, scale=d**-0.5), depths, x(), generator=seeded())
    assert "c is flat" in scaled.exponent("c").verdict
    plain = inn.depth_check(net, depths, x(), generator=seeded())
    assert plain.exponent("stream growth").exponent > 0.4
    assert "stream growth grows as sqrt(L)" in str(plain)
    fixed = inn.depth_check(lambda d: net(d, scale=0.05), depths, x(), generator=seeded())
    assert fixed.exponent("c").exponent == pytest.approx(1, abs=0.15)
    assert "c grows as L" in fixed.exponent("c").verdict


def test_one_step_of_adam_grows_with_the_width_unless_its_rate_follows():
    found = inn.depth_check(
        lambda n: net(4, n, 0.5), x=x, widths=(16, 32, 64, 128), lr=1e-3, generator=seeded()
    )
    assert found.over == "width"
    step = found.exponent("step")
    assert 0.4 < step.exponent < 1.3
    assert step.standard_error < 0.3
    assert "in N" in step.verdict


def test_the_result_has_a_table_and_errors():
    found = inn.depth_check(lambda d: net(d, scale=0.1), (2, 4, 8), x(), generator=seeded())
    assert [row["depth"] for row in found.rows()] == [2, 4, 8]
    assert {e.quantity for e in found.exponents} == {"c", "stream growth", "gradient", "step"}
    assert all(e.standard_error >= 0 for e in found.exponents)
    assert all(math.isfinite(v) for values in found.values.values() for v in values)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="expected at least 3 for a slope"):
        inn.depth_check(net, (4, 8), x())
    with pytest.raises(ValueError, match="`x` is missing"):
        inn.depth_check(net, (2, 4, 8))
    with pytest.raises(TypeError, match="expected a freshly made"):
        inn.depth_check(lambda d: d, (2, 4, 8), x())
    with pytest.raises(ValueError, match="`lr` is 0"):
        inn.depth_check(net, (2, 4, 8), x(), lr=0.0)


class Tokens(nn.Module):
    """A language model that returns its logits and a loss, and takes a mask."""

    def __init__(self, depth):
        super().__init__()
        self.embedding, self.body = nn.Embedding(11, 32), net(depth, scale=0.2)
        self.head = nn.Linear(32, 11)

    def forward(self, ids, mask=None):
        h = self.body(self.embedding(ids))
        return self.head(h if mask is None else h * mask[..., None]), None


def test_token_ids_and_several_inputs_are_checked_as_the_model_takes_them():
    ids = torch.arange(10).reshape(2, 5)
    found = inn.depth_check(Tokens, (2, 4, 8), ids, generator=seeded())
    assert all(v > 0 for values in found.values.values() for v in values)
    given = {"ids": ids, "mask": torch.ones(2, 5)}
    masked = inn.depth_check(Tokens, (2, 4, 8), lambda _: given, generator=seeded())
    assert masked.exponent("step").exponent == pytest.approx(found.exponent("step").exponent, abs=1)


def test_the_step_moves_what_ids_are_looked_up_in_as_well():
    """With the rest held, only the embedding moves; at a point behind it nothing would."""

    def held(depth):
        model = Tokens(depth)
        for p in [*model.body.parameters(), *model.head.parameters()]:
            p.requires_grad_(False)
        return model

    ids = torch.arange(10).reshape(2, 5)
    assert min(inn.depth_check(held, (2, 3, 4), ids, generator=seeded()).values["step"]) > 1e-5


def test_its_figure_has_a_line_of_the_fitted_slope_per_quantity():
    found = inn.depth_check(lambda d: net(d, scale=0.1), (2, 4, 8), x(), generator=seeded())
    ax = found.plot()
    lines = [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
    slopes = [
        math.log(line.get_ydata()[-1] / line.get_ydata()[0])
        / math.log(line.get_xdata()[-1] / line.get_xdata()[0])
        for line in lines
    ]
    assert slopes == pytest.approx([e.exponent for e in found.exponents])
    assert (ax.get_xlabel(), ax.get_xscale(), ax.get_yscale()) == ("depth", "log", "log")
