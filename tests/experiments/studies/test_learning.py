import math

import numpy as np
import pytest
import torch

from cases_runs import finished, unshown
from isometry.experiments.studies.learning import (
    branch_jacobians,
    follow,
    jacobians,
    plan,
    shuffled,
    summarise,
    two_parameter_law,
)
from isometry.nn.networks.resnet import ResNet
from isometry.theory.comparison import compare
from isometry.theory.propagation import ResNetSpec
from isometry.theory.spectrum import Spectrum

SIZE = {
    "images": "digits",
    "limit": 50,
    "activations": ["tanh"],
    "network": {"width": 40, "depth": 6},
    "training": {"steps": 4, "batch": 16, "learning_rate": 0.1, "evaluate_every": 2},
    "at": [0, 4],
    "c": 1.0,
    "seeds": 1,
}


def layers(depth=40, width=150, seed=0):
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((depth, width, width)) / np.sqrt(width * depth)
    return (G + G.transpose(0, 2, 1)) / np.sqrt(2) + 0.3 / depth * np.eye(width)


def test_symmetric_layers_with_a_drift_follow_the_two_parameter_law():
    X = layers()
    law = two_parameter_law(X)
    assert law.c == pytest.approx(2.0, rel=0.05)  # v + k of a symmetric layer is twice its v
    J = np.eye(150)
    for layer in X:
        J = J + layer @ J
    assert compare(Spectrum.from_matrix(J), law).ks < 6 / 150 + 1 / 40


def test_an_overflowing_layer_has_no_law():
    assert two_parameter_law(np.full((2, 3, 3), 1e200)) is None


def test_shuffling_keeps_the_traces_and_moves_the_layers():
    X = layers(depth=3, width=20)
    moved = shuffled(X, np.random.default_rng(0))
    before, after = two_parameter_law(X), two_parameter_law(moved)
    assert after.c == pytest.approx(before.c, rel=1e-12)
    assert math.log(after.scale) == pytest.approx(math.log(before.scale), rel=1e-9)
    assert not np.allclose(moved, X)


def test_the_controls_repair_layers_that_know_each_other():
    spec = ResNetSpec("tanh", depth=30)
    net = ResNet(spec, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, *others = net.linear_maps()
    for other in others:
        other.load_state_dict(first.state_dict())
    x = torch.randn(100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    law = two_parameter_law(branch_jacobians(net, x))
    found = jacobians(net, x, np.random.default_rng(1))
    ks = {control: compare(Spectrum.from_matrix(J), law).ks for control, J in found.items()}
    assert ks["trained"] > 0.1
    assert ks["shuffled"] < 6 / 100 + 1 / 30  # finite width and finite depth
    assert ks["rotated"] < 6 / 100 + 1 / 30


def test_the_branch_jacobians_multiply_to_the_jacobian():
    spec = ResNetSpec("gelu", depth=4)
    net = ResNet(spec, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.linspace(-1, 1, 10, dtype=torch.float64)
    J = np.eye(10)
    for layer in branch_jacobians(net, x):
        J = J + layer @ J
    np.testing.assert_allclose(J, net.jacobian(x).numpy(), rtol=1e-10)


def test_the_study_follows_a_training(tmp_path):
    found = summarise(finished(tmp_path, plan(**SIZE), follow))
    assert [row["step"] for row in found.numbers["steps"]] == [0, 4]
    first = found.numbers["steps"][0]
    assert first["c"] == pytest.approx(1.0, rel=0.15)  # one network of width 40
    assert max(first[control] for control in ("trained", "shuffled", "rotated")) < 0.2
    assert len(found.hypotheses) == 3
    assert unshown(found) == []
