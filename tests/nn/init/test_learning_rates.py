import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from isometry.nn.init.init import apply_, plan
from isometry.nn.init.learning_rates import learning_rates
from isometry.nn.networks.resnet import ResNet
from isometry.theory.kernels import network_kernels
from isometry.theory.propagation import ResNetSpec


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rates(*arguments, **options):
    return {group["name"]: group["lr"] for group in learning_rates(*arguments, **options)}


def test_our_networks_learn_at_the_variance_of_their_specification():
    net = ResNet(ResNetSpec("relu", depth=4, sigma_w=3.0), 25, generator=seeded())
    found = rates(net, 0.1)
    assert found["layers.0.linear.weight"] == pytest.approx(0.1 * 9 / 100)
    assert found["layers.3.linear.bias"] == pytest.approx(0.1 * 9 / 4)
    assert rates(net, 0.1, optimiser="adam")["layers.0.linear.weight"] == pytest.approx(0.1 * 0.3)


def test_any_model_learns_at_the_mean_square_of_its_weights():
    model = nn.Sequential(nn.Linear(50, 40), nn.LayerNorm(40), nn.Linear(40, 3))
    nn.init.zeros_(model[2].weight)
    found = rates(model, 1.0)
    square = float(model[0].weight.detach().square().mean())
    assert found["0.weight"] == pytest.approx(square)
    assert found["0.bias"] == pytest.approx(50 * square)
    assert found["1.weight"] == found["1.bias"] == 1.0
    assert found["2.weight"] == pytest.approx(1 / 40)  # all zero: no variance to go by


def test_a_planned_model_learns_at_what_the_plan_wrote():
    net = ResNet(ResNetSpec("relu", depth=4), 16, generator=seeded())
    x = torch.randn(4, 16, generator=seeded(1))
    made = plan(net, x, c=2.0, generator=seeded())
    before = rates(net, 1.0)["layers.0.linear.weight"]
    asked = rates(made, 1.0)
    apply_(net, made)
    assert rates(net, 1.0)["layers.0.linear.weight"] == pytest.approx(4 * before)
    assert asked == pytest.approx(rates(net, 1.0))
    assert rates(made, 1.0) == asked


def test_a_plan_stands_for_the_model_it_was_made_for_and_a_copy_of_it_for_none():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(24, 24), nn.Linear(24, 24)

        def forward(self, x):
            return x + self.outer(self.inner(x).relu())

    model = nn.Sequential(Branch(), Branch())
    x = torch.randn(64, 24, generator=seeded(1))
    made = plan(model, x, c=3.0, generator=seeded())
    groups = learning_rates(made, 0.1)
    assert {id(p) for group in groups for p in group["params"]} == set(map(id, model.parameters()))
    before = rates(model, 0.1)
    apply_(model, made)
    assert rates(made, 0.1) == pytest.approx(rates(model, 0.1))
    assert rates(model, 0.1)["0.outer.weight"] > 2 * before["0.outer.weight"]
    with pytest.raises(ValueError, match=r"module is gone.*apply_"):
        learning_rates(replace(made, c=3.0), 0.1)


def test_frozen_parameters_are_in_no_group_and_an_optimiser_takes_the_rest():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    groups = learning_rates(model, 0.1)
    assert [group["name"] for group in groups] == ["weight"]
    torch.optim.SGD(groups, lr=0.1).step()
    torch.optim.Adam(learning_rates(model, 0.1, optimiser="adam")).step()


def test_steps_move_the_output_by_the_predicted_tangent_kernel():
    spec = ResNetSpec("relu", depth=5, sigma_w=1.3, centre=True, unit=True)
    width, total = 500, 0.0
    for seed in range(4):
        net = ResNet(spec, width, generator=seeded(seed))
        x = torch.randn(width, 2, generator=seeded(9))
        x = (torch.linalg.qr(x)[0] * math.sqrt(width)).T
        x = torch.stack([x[0], 0.5 * x[0] + math.sqrt(0.75) * x[1]])
        readout = nn.functional.normalize(torch.randn(width, generator=seeded(7 + seed)), dim=0)
        groups = [g for g in learning_rates(net, 1.0) if g["name"].endswith("weight")]
        one, two = (
            torch.autograd.grad(net(row[None])[0] @ readout, [g["params"][0] for g in groups])
            for row in x
        )
        total += sum(
            g["lr"] * float((a * b).sum()) for g, a, b in zip(groups, one, two, strict=True)
        )
    predicted = float(network_kernels(spec, [0.5]).tangent[-1, 0])
    # at one rate for all maps it would be fan_in L / sigma_w^2 = 1,500 times as large
    assert total / 4 == pytest.approx(predicted, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((nn.Linear(2, 2), 0.0), {}, ValueError, "`lr` is 0.0"),
        ((nn.Linear(2, 2), 0.1), {"optimiser": "lion"}, ValueError, "'sgd' or 'adam'"),
        ((torch.relu, 0.1), {}, TypeError, "Module"),
    ],
)
def test_wrong_arguments_are_refused(arguments, options, error, match):
    with pytest.raises(error, match=match):
        learning_rates(*arguments, **options)


def test_weights_that_are_not_finite_have_no_rate():
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, math.nan)
    with pytest.raises(ValueError, match="not finite"):
        learning_rates(model, 0.1)
