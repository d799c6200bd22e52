import pytest
import torch
from torch import nn
from torch.nn import functional

from cases_modules import Residual, mlp
from isometry import nn as inn
from isometry.nn.blocks.blocks import residual_stream
from isometry.nn.init.init import plan


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Conv(nn.Module):
    """A residual block whose last convolution starts at 0; its shortcut is a map where needed."""

    def __init__(self, width, out):
        super().__init__()
        self.first, self.last = (nn.Conv2d(n, out, 3, padding=1) for n in (width, out))
        self.shortcut = nn.Conv2d(width, out, 1) if width != out else nn.Identity()
        nn.init.zeros_(self.last.weight)

    def forward(self, x):
        return self.shortcut(x) + self.last(torch.relu(self.first(x)))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.down, self.middle = Conv(3, 3), Conv(3, 6), Conv(6, 6)
        self.up, self.last = Conv(9, 3), Conv(3, 3)

    def forward(self, x):
        h = self.first(x)
        inner = self.middle(self.down(functional.avg_pool2d(h, 2)))
        inner = functional.interpolate(inner, scale_factor=2)
        return self.last(self.up(torch.cat([inner, h], 1)))


class Rotated(nn.Module):
    """Sums inside a branch, as rotary positions and parallel paths make, are no blocks."""

    def __init__(self):
        super().__init__()
        self.body = mlp(6, 12)

    def forward(self, x):
        turned = x * 0.6 + x.roll(1, -1) * 0.8
        return x + self.body(turned) + torch.tanh(self.body(x))


def unet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(), torch.randn(2, 3, 8, 8, generator=seeded())


def test_every_addition_that_is_no_block_is_listed_with_its_reason():
    model, x = unet()
    left = residual_stream(model, x).left
    assert [(one.name, one.blocks) for one in left] == [
        ("down", None), ("middle", "middle"), ("up", None),
    ]  # fmt: skip
    assert "shortcut is a linear map" in left[0].reason
    assert "go around it" in left[1].reason
    assert [one.zero for one in left] == [
        ("down.last.weight",), ("middle.last.weight",), ("up.last.weight",),
    ]  # fmt: skip


def test_the_plan_says_what_it_leaves_and_what_takes_it():
    model, x = unet()
    made = plan(model, x, redraw=True, generator=seeded())
    text = str(made)
    assert "left out: `middle`: some paths" in text
    assert "`blocks=[..., 'middle']` takes it; `middle.last.weight` at 0 stays" in text
    assert "`down.last.weight` at 0 stays" in text
    assert len(made.to_dict()["left"]) == 3
    named = plan(model, x, blocks=["first", "middle", "last"], redraw=True, generator=seeded())
    assert [block.name for block in named.blocks] == ["first", "middle", "last"]
    assert [one.name for one in named.left] == ["down", "up"]


@pytest.mark.parametrize("layer", [Rotated, lambda: Residual(mlp(6, 12))])
def test_nothing_is_left_of_a_chain_of_blocks(layer):
    model = nn.Sequential(*[layer() for _ in range(3)])
    stream = residual_stream(model, torch.randn(2, 6, generator=seeded()))
    assert len(stream.blocks) == 3
    assert stream.left == ()


def test_a_branch_without_parameters_is_said_to_be_one():
    model = nn.Sequential(Residual(mlp(6, 12)), Residual(nn.Tanh()), Residual(mlp(6, 12)))
    (one,) = residual_stream(model, torch.randn(2, 6, generator=seeded())).left
    assert (one.name, one.reason) == ("1", "no parameter is in its branch")
    assert len(inn.residual_blocks(model, torch.ones(1, 6), blocks=["0", one.blocks])) == 2
