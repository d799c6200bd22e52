import math

import numpy as np
import pytest

from isometry.theory.activations.lookup import activation
from isometry.theory.dual import dual_activation
from isometry.theory.kernels import network_kernels
from isometry.theory.propagation import ResNetSpec, propagate
from isometry.theory.working_point import working_point

CASES = {
    "plain": ResNetSpec("relu", depth=6, sigma_w=1.3),
    "plain, biases": ResNetSpec("gelu", depth=4, sigma_w=1.5, sigma_b=0.3, skip=0.9),
    "centred": ResNetSpec("relu", depth=6, sigma_w=1.3, centre=True),
    "signs": ResNetSpec("sigmoid", depth=4, sigma_w=2.0, signs=True),
    "unit": ResNetSpec("tanh", depth=6, sigma_w=1.3, unit=True),
    "unit, centred": ResNetSpec("gelu", depth=6, sigma_w=1.5, unit=True, centre=True),
}


def simulated(spec, rho, *, width=2000, seed=0):
    """Return <x x'> / N after every layer of one network, and the same with itself."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((width, 2))
    x = np.linalg.qr(x)[0] * math.sqrt(width)
    X = x @ np.array([[1.0, rho], [0.0, math.sqrt(1 - rho * rho)]])
    act, signal = activation(spec.activation), propagate(spec)
    rows = [X.T @ X / width]
    for q, mean in zip(signal.q, signal.mean, strict=True):
        W = rng.standard_normal((width, width)) * spec.sigma_w / math.sqrt(width * spec.depth)
        h = W @ X + spec.sigma_b * rng.standard_normal((width, 1))
        s = math.sqrt(q) if spec.unit else 1.0
        branch = s * act.phi(h / s) - (mean if spec.centre else 0.0)
        if spec.signs:
            branch *= rng.choice([-1.0, 1.0], size=(width, 1))
        X = spec.skip * X + branch
        rows.append(X.T @ X / width)
    rows = np.array(rows)
    return rows[:, 0, 1], rows[:, 0, 0]


@pytest.mark.parametrize("name", CASES)
def test_a_simulated_network_of_width_2000_has_the_kernel(name):
    spec = CASES[name]
    found, own = simulated(spec, 0.4)
    kernels = network_kernels(spec, [0.4])
    # N = 2000: one entry's products scatter by about 1, their mean by 0.022 a layer of random maps
    np.testing.assert_allclose(own, kernels.signal, rtol=0.08)
    np.testing.assert_allclose(found, kernels.nngp[:, 0], atol=0.06 * own.max())


def test_two_equal_inputs_have_the_signal():
    for spec in CASES.values():
        kernels = network_kernels(spec, [1.0])
        np.testing.assert_allclose(kernels.nngp[:, 0], kernels.signal, rtol=1e-10)


def tangent(act, slope_square, c=1.0):
    spec = ResNetSpec(act, depth=20, sigma_w=math.sqrt(c / slope_square), centre=True, unit=True)
    return network_kernels(spec, np.linspace(-1, 1, 5)).tangent[-1]


def test_equal_c_and_equal_shares_are_nearly_equal_kernels_and_equal_c_alone_is_not():
    relu, point = tangent("relu", 0.5), working_point("tanh", like="relu")
    at_point, as_it_is = (
        np.abs(found - relu).max() / relu.max()
        for found in (
            tangent(point, point.slope_square),
            tangent("tanh", dual_activation("tanh").slope_square),
        )
    )
    assert at_point < 0.05  # .043: what orders above 2 contribute to kappa'(1)
    assert as_it_is > 0.9
    wrong_c = np.abs(tangent(point, point.slope_square, 1.1) - relu).max() / relu.max()
    assert wrong_c > 2 * at_point


def test_a_linear_network_has_elementary_kernels():
    spec = ResNetSpec("linear", depth=10, sigma_w=1.0)
    kernels = network_kernels(spec, [0.3, -0.2])
    layers = np.arange(11)[:, None]
    np.testing.assert_allclose(kernels.nngp, kernels.correlation * 1.1**layers, rtol=1e-12)
    tangent = layers * 0.1 * 1.1 ** (layers - 1.0) * kernels.correlation
    np.testing.assert_allclose(kernels.tangent, tangent, rtol=1e-12)


def test_what_is_no_correlation_is_refused():
    with pytest.raises(ValueError, match="from -1 to 1"):
        network_kernels(ResNetSpec("relu", depth=2), [1.2])
