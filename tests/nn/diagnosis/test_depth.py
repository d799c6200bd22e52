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


def missing(check):
    """Return the quantities that are in no row of a check."""
    return {name for name, values in check.values.items() if all(map(math.isnan, values))}


def test_a_frozen_model_has_all_but_a_step():
    def frozen(depth):
        return net(depth, scale=0.2).requires_grad_(False)

    found = inn.depth_check(frozen, (2, 4, 8), x(), generator=seeded())
    assert missing(found) == {"step"}
    assert {e.quantity for e in found.exponents} == {"c", "stream growth", "gradient"}
    assert "step was not measured: no parameter that requires a gradient" in str(found)
    assert found.rows()[0]["step"] is None


def test_a_chain_without_residuals_has_a_gradient_and_a_step():
    def chain(depth):
        return nn.Sequential(*[nn.Linear(32, 32) for _ in range(depth)])

    torch.manual_seed(0)
    found = inn.depth_check(chain, (2, 4, 8), x(), generator=seeded())
    assert missing(found) == {"c", "stream growth"}
    assert "c was not measured: `model` has no residual block" in found.remarks[0]
    assert "fewer than two residual additions" in found.remarks[1]


def test_blocks_without_c_leave_the_rest_measured():
    class Two(nn.Module):
        def __init__(self, depth):
            super().__init__()
            self.t = nn.Transformer(8, 2, depth, depth, 16, dropout=0.0, batch_first=True)

        def forward(self, a, b):
            return self.t(a, b)

    torch.manual_seed(0)
    given = (torch.randn(1, 3, 8), torch.randn(1, 3, 8))
    found = inn.depth_check(Two, (1, 2, 3), given, generator=seeded())
    assert found.values["c"][0] > 0
    assert all(math.isnan(c) for c in found.values["c"][1:])
    assert {e.quantity for e in found.exponents} == {"stream growth", "gradient", "step"}
    assert "c was not measured at depth 2, 3: the skip of " in found.remarks[0]


def with_head(depth, weight, inner=0.2):
    torch.manual_seed(0)
    head = nn.Linear(32, 3, bias=False)
    nn.init.constant_(head.weight, weight)
    return nn.Sequential(net(depth, scale=inner), head)


def test_a_head_of_zeros_has_no_relative_step():
    found = inn.depth_check(lambda d: with_head(d, 0.0), (2, 4, 8), x(), generator=seeded())
    assert missing(found) == {"step"}
    assert set(found.values["gradient"]) == {0.0}
    said = " ".join(found.remarks)
    assert "gradient is 0: the output does not depend on the input to first order" in said
    assert "step was not measured: the output is 0, as of a head of zeros" in said


def test_an_output_that_overflows_is_told():
    def made(depth):
        return with_head(depth, 1.0, 0.2 if depth < 8 else 1e30)

    found = inn.depth_check(made, (2, 4, 8), x(), generator=seeded())
    assert all(v[0] > 0 and not math.isfinite(v[2]) for v in found.values.values())
    assert "gradient is not finite at depth 8" in str(found)
    assert found.exponents == ()


def test_weights_that_cannot_be_measured_are_named():
    def broken(depth):
        model = Tokens(depth)
        nn.init.constant_(model.embedding.weight, math.nan)
        return model

    ids = torch.arange(10).reshape(2, 5)
    with pytest.raises(ValueError, match=r"NaN or infinite weights in 'embedding\.weight'"):
        inn.depth_check(broken, (2, 4, 8), ids)
    with pytest.raises(ValueError, match="on the meta device, without values"):
        inn.depth_check(lambda depth: net(depth).to("meta"), (2, 4, 8), x())


def test_one_model_at_all_sizes_is_refused():
    model = net(2)
    with pytest.raises(ValueError, match="returns one model twice"):
        inn.depth_check(lambda _: model, (2, 4, 8), x())


def test_sizes_and_a_function_that_are_none_are_refused():
    for sizes in (4, "248", b"248", 1.5):
        with pytest.raises(TypeError, match=r"`depths` is .*expected integers"):
            inn.depth_check(net, sizes, x())
    with pytest.raises(TypeError, match="`make` is None; expected a function of the width"):
        inn.depth_check(None, x=x(), widths=(2, 4, 8))
