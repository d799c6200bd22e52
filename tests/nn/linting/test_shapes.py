import torch
from torch import nn

from cases_lint import STD, decoder, edited, linted, named
from isometry import nn as inn


def test_a_map_left_at_torchs_default_is_named():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        report = linted(edited(lambda i, layer: layer.up.reset_parameters()))
    assert named(report, "distribution") == [f"layers.{i}.up.weight" for i in range(6)]


def test_a_model_that_is_uniform_throughout_is_left_alone():
    with torch.random.fork_rng():
        torch.manual_seed(0)

        def draw(i, layer):
            for m in (layer.attention.qkv, layer.attention.o, layer.gate, layer.up, layer.down):
                m.reset_parameters()

        report = linted(edited(draw))
    assert named(report, "distribution") == []


def test_a_truncation_that_only_some_have_is_a_note():
    def draw(i, layer):
        torch.nn.init.trunc_normal_(layer.attention.qkv.weight, std=STD, a=-2 * STD, b=2 * STD)
        torch.nn.init.trunc_normal_(layer.up.weight, std=STD)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        report = linted(edited(draw))
    assert named(report, "distribution", "note") == ["layers.0.up.weight"]
    assert named(linted(decoder()), "distribution", "note") == []


class Mixer(nn.Module):
    """A fused map that reads, and one at torch's default that writes, as in state space models."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(32, 128), nn.Linear(32, 32)
        nn.init.normal_(self.enter.weight, std=0.02)

    def forward(self, x):
        a, b, c, d = self.enter(x).chunk(4, -1)
        return x + self.leave(a * b.sigmoid() + c * d.tanh())


def test_the_parts_of_one_fused_map_are_one_witness():
    torch.manual_seed(0)
    model = nn.Sequential(*[Mixer() for _ in range(3)])
    assert inn.lint(model, torch.randn(2, 32)).worst() == ()


class Residual(nn.Module):
    """A block of a convolutional network, which may halve its image."""

    def __init__(self, narrow, wide):
        super().__init__()
        self.conv1 = nn.Conv2d(narrow, wide, 3, 1 + (narrow < wide), 1, bias=False)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.short = nn.Conv2d(narrow, wide, 1, 2, bias=False) if narrow < wide else nn.Identity()

    def forward(self, x):
        return self.short(x) + self.conv2(torch.relu(self.conv1(x)))


def staged(missed):
    """Two stages of two blocks, He's rule everywhere but where a name begins with `missed`."""
    model = nn.Sequential(Residual(12, 24), Residual(24, 24), Residual(24, 48), Residual(48, 48))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and not name.startswith(missed):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return inn.lint(model, torch.randn(1, 12, 8, 8))


def test_layers_of_one_name_that_the_initialisation_has_not_reached_are_named():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert named(staged("nothing"), "distribution") == []
        for missed in [("2", "3"), ("1",), ("1", "2")]:
            found = set(named(staged(missed), "distribution"))
            blocks = {name.split(".")[0] for name in found}
            assert blocks == set(missed)
            assert {f"{block}.conv1.weight" for block in missed} <= found
