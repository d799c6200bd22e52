import math

import numpy as np
import pytest
import torch

from isometry.nn.networks.resnet import ConvResNet, ResNet
from isometry.theory.activations.lookup import activation_names
from isometry.theory.propagation import ResNetSpec, effective_cumulant, propagate
from isometry.theory.working_point import working_point

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", activation_names())
@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
def test_the_product_of_layer_matrices_is_the_autograd_jacobian(name):
    spec = ResNetSpec(name, depth=5, sigma_w=1.7, sigma_b=0.3, skip=0.9)
    net = ResNet(spec, 12, generator=seeded(), dtype=F64)
    x = torch.randn(12, generator=seeded(1), dtype=F64)
    reference = torch.autograd.functional.jacobian(net, x)
    torch.testing.assert_close(net.jacobian(x), reference, rtol=1e-12, atol=1e-12)


def test_a_vanishing_jacobian_keeps_its_accuracy_in_float32():
    # 0.05^40 is 1e-52: below float32, so the product must be rescaled on the way.
    spec = ResNetSpec("tanh", depth=24, sigma_w=0.2, skip=0.05)
    net = ResNet(spec, 16, generator=seeded())
    x = torch.randn(16, generator=seeded(1))
    exact = net.double().jacobian(x.double())
    assert exact.abs().max() < 1e-25
    torch.testing.assert_close(net.float().jacobian(x).double(), exact, rtol=1e-4, atol=1e-33)


def test_weights_and_biases_have_the_variances_of_the_specification():
    spec = ResNetSpec("relu", depth=4, sigma_w=1.5, sigma_b=0.3)
    net = ResNet(spec, 300, generator=seeded())
    weights = torch.cat([linear.weight.detach().flatten() for linear in net.linear_maps()])
    biases = torch.cat([linear.bias.detach() for linear in net.linear_maps()])
    # five standard errors of a sample variance: sqrt(2/n) relative
    assert float(weights.var()) == pytest.approx(1.5**2 / (300 * 4), rel=5 * math.sqrt(2 / 360_000))
    assert float(biases.var()) == pytest.approx(0.09, rel=5 * math.sqrt(2 / 1200))


def test_the_convolution_draws_the_same_variance_per_fan_in():
    spec = ResNetSpec("relu", depth=4, sigma_w=1.5, sigma_b=0.0)
    net = ConvResNet(spec, 24, kernel_size=3, generator=seeded())
    weights = torch.cat([conv.weight.detach().flatten() for conv in net.linear_maps()])
    expected = 1.5**2 / (24 * 9 * 4)
    assert float(weights.var()) == pytest.approx(expected, rel=5 * math.sqrt(2 / weights.numel()))


def test_the_measured_cumulant_is_the_one_signal_propagation_predicts():
    spec = ResNetSpec("gelu", depth=30, sigma_w=2.0, sigma_b=0.2)
    predicted = effective_cumulant(spec)
    net = ResNet(spec, 400, generator=seeded(), dtype=F64)
    x = torch.randn(400, generator=seeded(1), dtype=F64)
    # 4 % is the fluctuation of an N = 400 stream (1/sqrt(400) = 5 % on m2); 10 % off must fail
    assert float(net.layer_cumulants(x).sum()) == pytest.approx(predicted, rel=0.04)
    assert float(net.layer_cumulants(x).sum()) != pytest.approx(1.1 * predicted, rel=0.04)


def test_the_layer_cumulants_are_the_norms_of_the_branch_jacobians():
    net = ResNet(ResNetSpec("tanh", depth=1, sigma_w=1.3), 20, generator=seeded(), dtype=F64)
    x = torch.randn(20, generator=seeded(1), dtype=F64)
    branch = net.jacobian(x) - torch.eye(20, dtype=F64)
    assert float(net.layer_cumulants(x)[0]) == pytest.approx(float(branch.square().sum()) / 20)


@pytest.mark.parametrize("padding_mode", ["circular", "zeros"])
def test_the_convolutional_network_keeps_the_shape(padding_mode):
    net = ConvResNet(ResNetSpec("relu", depth=3), 5, padding_mode=padding_mode, generator=seeded())
    x = torch.randn(2, 5, 6, 7, generator=seeded(1))
    assert net(x).shape == x.shape


def test_the_draw_is_reproducible_and_leaves_the_global_state_alone():
    state = torch.random.get_rng_state()
    first, second, other = (
        ResNet(ResNetSpec("relu", depth=2), 8, generator=seeded(s)) for s in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_a_numpy_activation_is_refused():
    with pytest.raises(NotImplementedError, match="pass a torch callable"):
        ResNet(ResNetSpec(np.arctan, depth=2), 8)


def test_a_torch_module_is_an_activation():
    net = ResNet(ResNetSpec(torch.nn.ELU(0.5), depth=2), 8, generator=seeded())
    assert net(torch.zeros(1, 8)).shape == (1, 8)


def test_an_activation_that_works_in_place_has_the_same_jacobian():
    nets = [
        ResNet(ResNetSpec(phi, depth=4), 8, generator=seeded(), dtype=F64)
        for phi in (torch.nn.functional.relu_, torch.nn.functional.relu)
    ]
    x = torch.randn(8, generator=seeded(1), dtype=F64)
    torch.testing.assert_close(nets[0].jacobian(x), nets[1].jacobian(x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResNet(ResNetSpec("relu", depth=2), 0), "`width` is 0"),
        (lambda: ConvResNet(ResNetSpec("relu", depth=2), 4, kernel_size=2), "`kernel_size` is 2"),
        (lambda: ConvResNet(ResNetSpec("relu", depth=2), 4, padding_mode="same"), "`padding_mode`"),
        (
            lambda: ResNet(ResNetSpec("relu", depth=2), 4).jacobian(torch.zeros(2, 4)),
            "`x` has shape",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


SWITCHED = {
    "centred": (ResNetSpec("relu", depth=20, sigma_w=1.3), {"centre": True}),
    "signs": (ResNetSpec("relu", depth=20, sigma_w=1.3), {"signs": True}),
    "at a point": (
        ResNetSpec(working_point("tanh", like="relu"), depth=20, sigma_w=1.2),
        {"centre": True},
    ),
    "unit, biases": (ResNetSpec("gelu", depth=20, sigma_w=1.4, sigma_b=0.1, unit=True), {}),
}


@pytest.mark.parametrize("name", SWITCHED)
def test_c_q_and_m2_are_what_the_theory_predicts(name):
    spec, switches = SWITCHED[name]
    net = ResNet(spec, 1000, generator=seeded(), dtype=F64, **switches)
    x = torch.randn(1000, generator=seeded(1), dtype=F64)
    x = (x - x.mean()) / x.std(correction=0)
    signal, q, m2 = propagate(net.spec), [], []
    y = x
    with torch.no_grad():
        for layer in net.layers:
            q.append(float(layer.linear(y).square().mean()))
            y = layer(y)
            m2.append(float(y.square().mean()))
    measured = float(net.layer_cumulants(x).sum())
    # c of one network scatters by about 1 %; a 10 % wrong one is rejected
    assert measured == pytest.approx(signal.c, rel=0.04)
    assert measured != pytest.approx(1.1 * signal.c, rel=0.04)
    np.testing.assert_allclose(q, signal.q, rtol=0.2)
    np.testing.assert_allclose(m2, signal.m2, rtol=0.2)


@pytest.mark.parametrize("name", SWITCHED)
def test_the_jacobian_of_a_switched_network_is_autograds(name):
    spec, switches = SWITCHED[name]
    net = ResNet(spec, 12, generator=seeded(), dtype=F64, **switches)
    x = torch.randn(12, generator=seeded(1), dtype=F64)
    reference = torch.autograd.functional.jacobian(net, x)
    torch.testing.assert_close(net.jacobian(x), reference, rtol=1e-12, atol=1e-12)


def test_a_centred_network_has_no_coherent_mean_and_a_dropped_mean_is_seen():
    spec = ResNetSpec("relu", depth=20, sigma_w=1.3)
    x = torch.randn(8, 1000, generator=seeded(1))
    centred = ResNet(spec, 1000, centre=True, generator=seeded())(x).detach()
    plain = ResNet(spec, 1000, generator=seeded())(x).detach()
    assert abs(float(centred.mean())) < 0.1 * float(centred.std())
    assert float(plain.mean()) > 1.0 * float(plain.std())


def test_a_measured_mean_is_subtracted_exactly():
    net = ResNet(ResNetSpec("gelu", depth=5, sigma_w=2.0, signs=True), 50, generator=seeded())
    x = torch.randn(16, 50, generator=seeded(1))
    net.centre_(x)
    with torch.no_grad():
        for layer in net.layers:
            branch = layer.activate(layer.linear(x)) * layer.signs
            assert abs(float(branch.mean())) < 1e-6
            x = layer(x)


def test_the_convolution_takes_the_same_switches():
    spec = ResNetSpec(working_point("tanh", like="relu"), depth=10, sigma_w=1.2)
    net = ConvResNet(spec, 32, centre=True, signs=True, generator=seeded())
    y = net(torch.randn(4, 32, 8, 8, generator=seeded(1))).detach()
    assert float(y.square().mean()) == pytest.approx(propagate(net.spec).m2[-1], rel=0.1)
    assert abs(float(y.mean())) < 0.1


def test_signs_are_part_of_the_state_and_drawn_anew():
    net = ResNet(ResNetSpec("relu", depth=1), 400, signs=True, generator=seeded())
    before = net.layers[0].signs.clone()
    assert set(before.tolist()) == {-1.0, 1.0}
    assert "layers.0.signs" in net.state_dict()
    net.reset_parameters(generator=seeded(5))
    assert (net.layers[0].signs != before).any()


def test_a_switch_that_is_none_is_refused():
    with pytest.raises(TypeError, match="`centre`"):
        ResNet(ResNetSpec("relu", depth=1), 4, centre="yes")
