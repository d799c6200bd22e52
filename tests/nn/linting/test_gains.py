import torch
from torch import nn

from cases_lint import decoder, edited, linted, named
from isometry import nn as inn


def test_drawn_gains_are_named_and_the_others_are_not():
    report = linted(edited(lambda i, layer: layer.norm2.weight.normal_(0, 0.02)))
    assert named(report, "norm-gain", "error") == [f"layers.{i}.norm2.weight" for i in range(6)]
    around_one = linted(edited(lambda i, layer: layer.norm1.weight.normal_(1, 0.1)))
    assert len(named(around_one, "norm-gain", "warning")) == 6
    assert named(linted(decoder()), "norm-gain") == []


def test_gains_of_trained_weights_may_differ():
    model = edited(lambda i, layer: layer.norm2.weight.normal_(1, 0.2))
    assert named(linted(model, trained=True), "norm-gain") == []


def test_one_gain_unlike_its_siblings_is_named():
    report = linted(edited(lambda i, layer: layer.norm1.weight.fill_(3) if i == 2 else None))
    assert named(report, "norm-gain") == ["layers.2.norm1.weight"]


def test_a_gain_of_0_that_silences_a_branch_is_named_and_one_at_its_end_is_not():
    silent = linted(edited(lambda i, layer: layer.norm1.weight.zero_()))
    assert len(named(silent, "norm-gain")) == 6

    class Ended(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
            nn.init.zeros_(self.norm.weight)

        def forward(self, x):
            return x + self.norm(self.conv(x))

    x = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    assert inn.lint(nn.Sequential(*[Ended() for _ in range(3)]), x).worst() == ()


def biased(std, weights=1.0):
    layers = [nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(3)]
    with torch.no_grad():
        for layer in layers:
            layer[0].weight.mul_(weights)
            layer[0].bias.copy_(std * torch.randn(32, generator=torch.Generator().manual_seed(0)))
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    return named(inn.lint(nn.Sequential(*layers), x), "bias-size")


def test_random_biases_larger_than_the_signal_are_named_and_small_ones_are_not():
    assert biased(2.0) == ["0.0.bias", "1.0.bias", "2.0.bias"]
    assert biased(0.1) == []


def test_the_bias_that_opens_a_gate_of_zero_weights_is_right():
    """As `residual_(redraw=True)` opens those of a DiT."""
    assert biased(2.0, weights=0.0) == []
