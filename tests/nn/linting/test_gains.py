import pytest
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


class Apart(nn.Linear):
    """A linear map whose bias is added by an operation of its own."""

    def forward(self, x):
        return (x @ self.weight.T).unflatten(0, (2, -1)).flatten(0, 1) + self.bias


def biased(std, weights=1.0, fan=32, size=1.0, kind=nn.Linear, draw=nn.init.normal_):
    """Lint three layers with weights times a number, inputs of a size and biases of this std."""
    source = torch.Generator().manual_seed(0)
    layers = [nn.Sequential(kind(fan, fan), nn.Tanh()) for _ in range(3)]
    with torch.no_grad():
        for layer in layers:
            nn.init.kaiming_uniform_(layer[0].weight, a=5**0.5, generator=source)
            layer[0].weight.mul_(weights)
            draw(layer[0].bias, 0.0, 1.0, generator=source)
            layer[0].bias.mul_(std)
    x = size * torch.randn(64, fan, generator=source)
    return named(inn.lint(nn.Sequential(*layers), x), "bias-size")


@pytest.mark.parametrize("kind", [nn.Linear, Apart])
@pytest.mark.parametrize(
    ("fan", "std", "weights"), [(32, 2.0, 1.0), (32, 0.8, 1.0), (256, 0.4, 0.5), (256, 0.1, 0.1)]
)
def test_random_biases_larger_than_the_signal_are_named_whatever_the_fan(fan, std, weights, kind):
    assert biased(std, weights, fan, kind=kind) == ["0.0.bias", "1.0.bias", "2.0.bias"]


@pytest.mark.parametrize("kind", [nn.Linear, Apart])
def test_biases_smaller_than_the_signal_and_those_of_torchs_default_are_not(kind):
    assert biased(0.1, kind=kind) == []
    assert biased(0.1, weights=10.0, fan=4, kind=kind) == []
    for size in (1.0, 1e-3, 0.0):  # of which they are most, or all
        assert biased(32**-0.5, size=size, kind=kind, draw=uniform) == []


def uniform(tensor, _mean, bound, generator):
    nn.init.uniform_(tensor, -bound, bound, generator=generator)


def test_the_remedy_of_a_bias_mends_it():
    """At an input of this size every bias of another width than the default is too large."""
    assert len(biased(0.3, size=1e-3)) == 3
    assert biased(32**-0.5, size=1e-3, draw=uniform) == []


def test_the_bias_that_opens_a_gate_of_zero_weights_is_right():
    """As `residual_(redraw=True)` opens those of a DiT."""
    assert biased(2.0, weights=0.0) == []


def test_the_bias_of_a_normalisation_that_is_drawn_is_named():
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.Tanh()) for _ in range(3)]
    model, x = nn.Sequential(*blocks), torch.randn(4, 8)
    assert inn.lint(model, x).worst() == ()
    nn.init.normal_(model[1][0].bias, std=0.02)
    for given in (x, None):
        assert named(inn.lint(model, given), "norm-gain") == ["1.0.bias"]
    assert named(inn.lint(model, x, trained=True), "norm-gain") == []


def test_biases_of_transposed_kernels_are_held_to_their_own_default():
    """Torch takes the fan of their outputs: with few of them the bound is a wide one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh())
    nn.init.normal_(model[0].weight, std=0.02)
    x = 0.01 * torch.randn(2, 64, 4, 4)
    assert named(inn.lint(model, x), "bias-size") == []
    nn.init.normal_(model[0].bias, std=2.0)
    assert named(inn.lint(model, x), "bias-size") == ["0.bias"]
