import dataclasses
import math

import numpy as np
import pytest

from isometry.theory.activations.lookup import activation
from isometry.theory.propagation import (
    ResNetSpec,
    Signal,
    check_moments,
    effective_cumulant,
    propagate,
)
from isometry.theory.working_point import working_point

# theory.md's table: depth 100, sigma_w = 1, unit skip, x_0 ~ N(0, 1); sigma_b^2 = 0 and 0.05.
REFERENCE = [
    ("linear", 1.0000, 1.0000),
    ("relu", 0.5000, 0.5000),
    ("leaky_relu(0.1)", 0.5050, 0.5050),
    ("tanh", 0.9684, 0.8567),
    ("hardtanh", 1.0000, 0.9970),
    ("sigmoid", 0.0298, 0.0295),
    ("selu", 1.6291, 1.4043),
    ("gelu", 0.2575, 0.3038),
    ("silu", 0.2529, 0.2683),
    ("softplus", 0.4088, 0.4097),
    ("erf", 1.2266, 1.0683),
    ("elu", 0.9125, 0.8206),
]


def _simulate(spec, *, width, seed):
    """One network's q, m1, m2 a layer and its sum of |D W|^2 / N, in NumPy."""
    rng = np.random.default_rng(seed)
    act = activation(spec.activation)
    x = rng.standard_normal(width)
    x = (x - x.mean()) / x.std()
    rows, cumulant = [], 0.0
    for _ in range(spec.depth):
        W = rng.standard_normal((width, width)) * spec.sigma_w / math.sqrt(width * spec.depth)
        h = W @ x + spec.sigma_b * rng.standard_normal(width)
        cumulant += np.sum((act.dphi(h)[:, None] * W) ** 2) / width
        x = act(h) + spec.skip * x
        rows.append((h.var(), x.mean(), np.mean(x**2)))
    return np.array(rows).T, cumulant


@pytest.mark.parametrize(("name", "without_bias", "with_bias"), REFERENCE)
def test_reference_table_is_reproduced_to_its_last_digit(name, without_bias, with_bias):
    bias = math.sqrt(0.05)
    assert f"{effective_cumulant(ResNetSpec(name)):.4f}" == f"{without_bias:.4f}"
    assert f"{effective_cumulant(ResNetSpec(name, sigma_b=bias)):.4f}" == f"{with_bias:.4f}"


@pytest.mark.parametrize(
    "spec",
    [
        ResNetSpec("sigmoid", depth=20, sigma_w=4.0, sigma_b=0.5),
        ResNetSpec("gelu", depth=20, sigma_w=1.5, sigma_b=0.5, skip=0.9),
    ],
    ids=["sigmoid", "gelu with skip 0.9"],
)
def test_networks_drawn_at_random_follow_the_recursion(spec):
    signal = propagate(spec)
    drawn = [_simulate(spec, width=200, seed=seed) for seed in range(10)]
    for measured, expected in (
        (np.array([mean for (_, mean, _), _ in drawn]), signal.m1),
        (np.array([square for (_, _, square), _ in drawn]), signal.m2),
        (np.array([cumulant for _, cumulant in drawn]), signal.c),
    ):
        error = measured.std(axis=0, ddof=1) / math.sqrt(len(drawn))
        # 5 standard errors (estimated from ten draws) and a bias of order 1/N.
        deviation = np.abs(measured.mean(axis=0) - expected)
        assert np.all(deviation < 5 * error + 0.01 * np.abs(expected) + 1e-3)


def test_the_mean_term_of_the_recursion_is_needed():
    spec = ResNetSpec("sigmoid")
    act, m2, chi = activation("sigmoid"), 1.0, 0.0
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    for _ in range(spec.depth):
        h = math.sqrt(m2 / spec.depth) * z
        chi += float(weights @ act.dphi(h) ** 2) / spec.depth
        m2 += float(weights @ act(h) ** 2)
    assert f"{chi:.4f}" != "0.0298"
    _, cumulant = _simulate(spec, width=300, seed=0)
    with_term, without = effective_cumulant(spec), chi
    assert abs(cumulant - with_term) < abs(without - with_term) / 4


def test_linear_network_has_geometric_second_moment():
    signal = propagate(ResNetSpec("linear", depth=50, sigma_w=2.0, skip=0.5), m1=0.3, m2=2.0)
    layers = np.arange(1, 51)
    np.testing.assert_allclose(signal.m2, 2.0 * (0.25 + 4 / 50) ** layers, rtol=1e-12)
    np.testing.assert_allclose(signal.m1, 0.3 * 0.5**layers, rtol=1e-12)
    np.testing.assert_allclose(signal.chi, 4.0, rtol=1e-15)


def test_depth_one_is_one_gaussian_average():
    signal = propagate(ResNetSpec("relu", depth=1, sigma_w=2.0, sigma_b=1.0), m1=0.5, m2=2.0)
    mean = math.sqrt(9.0 / (2 * math.pi))
    np.testing.assert_allclose(signal.q, [9.0])
    np.testing.assert_allclose(signal.m1, [0.5 + mean])
    np.testing.assert_allclose(signal.m2, [2.0 + 2 * 0.5 * mean + 4.5])
    assert signal.c == pytest.approx(2.0)


def test_smooth_activations_become_linear_with_depth():
    # q = O(1/L) without biases, so c = 1 - O(1/L) for tanh.
    shallow, deep = (1 - effective_cumulant(ResNetSpec("tanh", depth=L)) for L in (40, 400))
    assert shallow / deep == pytest.approx(10, rel=0.2)  # and O(1/L^2)


def test_ten_thousand_layers_are_followed():
    signal = propagate(ResNetSpec("relu", depth=10_000))
    assert len(signal.q) == 10_000
    assert signal.c == pytest.approx(0.5, rel=1e-13)


def test_skip_zero_is_a_plain_network():
    signal = propagate(
        ResNetSpec("relu", depth=4, sigma_w=math.sqrt(8.0), skip=0.0), m1=0.0, m2=3.0
    )
    np.testing.assert_allclose(signal.m2, 3.0, rtol=1e-12)  # He's initialisation keeps m2


def test_zero_sigma_w_has_no_cumulant():
    signal = propagate(ResNetSpec("tanh", depth=3, sigma_w=0.0))
    assert signal.c == 0.0
    np.testing.assert_array_equal(signal.m2, 1.0)


def test_moments_of_an_image_are_accepted():
    image = np.linspace(0.0, 1.0, 64)
    spec = ResNetSpec("gelu", depth=10)
    assert effective_cumulant(spec, m1=image.mean(), m2=np.mean(image**2)) > 0
    constant = np.full(10, 0.1)  # rounding puts the mean square below the squared mean
    assert effective_cumulant(spec, m1=constant.mean(), m2=constant.mean() ** 2 * (1 - 1e-15)) > 0


def test_signal_shows_itself_and_becomes_a_table():
    signal = propagate(ResNetSpec("relu", depth=3))
    assert repr(signal).startswith("Signal(depth=3, c=0.5, q=")
    assert [row["layer"] for row in signal.rows()] == [1, 2, 3]
    assert signal.to_dict()["chi"] == [0.5, 0.5, 0.5]
    assert isinstance(signal, Signal)


def test_specification_prints_as_it_is_written_and_compares():
    spec = ResNetSpec("gelu", depth=7, sigma_w=0.5, skip=0.9)
    assert eval(repr(spec)) == spec
    assert hash(spec) == hash(dataclasses.replace(spec))


def test_a_callable_is_examined_once_and_kept():
    spec = ResNetSpec(activation("leaky_relu", negative_slope=0.1), depth=100)
    assert f"{effective_cumulant(spec):.4f}" == "0.5050"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"depth": 0}, ValueError, "`depth` is 0; expected an integer >= 1"),
        ({"depth": 1.5}, TypeError, "`depth` is 1.5"),
        ({"sigma_w": -1.0}, ValueError, "`sigma_w` is -1.0; .* standard deviation"),
        ({"sigma_b": math.nan}, ValueError, "`sigma_b` is nan"),
        ({"sigma_w": "1"}, TypeError, "`sigma_w` is '1'"),
        ({"skip": math.inf}, ValueError, "`skip` is inf"),
        ({"activation": "gleu"}, ValueError, "Did you mean 'gelu'"),
    ],
)
def test_bad_specification_is_refused_at_birth(arguments, error, message):
    with pytest.raises(error, match=message):
        ResNetSpec(**arguments)


@pytest.mark.parametrize(
    ("m1", "m2", "error", "message"),
    [
        (2.0, 1.0, ValueError, r"`m2` is 1.0; expected a mean square >= m1\*\*2 = 4"),
        (math.nan, 1.0, ValueError, "`m1` is nan"),
        (0.0, -1.0, ValueError, "`m2` is -1.0"),
        (0.0, "x", TypeError, "`m2` is 'x'"),
        (1e200, 1.0, ValueError, "`m2` is 1.0"),
    ],
)
def test_impossible_moments_are_refused(m1, m2, error, message):
    with pytest.raises(error, match=message):
        check_moments(m1, m2)
    with pytest.raises(error, match=message):
        propagate(ResNetSpec(), m1=m1, m2=m2)


@pytest.mark.parametrize(
    ("spec", "layer"),
    [
        (ResNetSpec("linear", depth=1000, skip=2.0), 512),
        (ResNetSpec("relu", depth=100, sigma_w=1e200), 1),
        (ResNetSpec(np.exp, depth=100, sigma_w=1.0, sigma_b=50.0), 1),
        (ResNetSpec("relu", depth=100, sigma_w=1e5), 40),
    ],
)
def test_overflow_names_the_layer(spec, layer):
    with pytest.raises(OverflowError, match=f"overflows in layer {layer} of {spec.depth}"):
        propagate(spec)


@pytest.mark.parametrize("call", [propagate, effective_cumulant])
@pytest.mark.parametrize("spec", ["relu", 3, None])
def test_what_is_no_specification_is_refused_with_the_call_to_write(call, spec):
    with pytest.raises(
        TypeError, match=r"`spec` is .*; expected a ResNetSpec\. Write ResNetSpec\("
    ):
        call(spec)


def test_moments_are_named():
    with pytest.raises(TypeError, match="positional"):
        propagate(ResNetSpec("relu"), 0.0)


def test_a_depth_that_no_memory_holds_is_refused():
    with pytest.raises(ValueError, match="`depth` is 100000000; expected an integer >= 1 and <="):
        ResNetSpec("relu", depth=100_000_000)


def test_rounding_of_a_constant_input_is_taken_for_what_it_is():
    assert check_moments(3.0, 9.0 * (1 - 1e-10)) == (3.0, 9.0)
    with pytest.raises(ValueError, match="expected a mean square >= "):
        check_moments(3.0, 9.0 * (1 - 1e-8))


@pytest.mark.parametrize("skip", [0.1, 0.3, 1.0])
def test_no_layer_has_a_mean_square_below_its_squared_mean(skip):
    # Without weights and biases every entry is one number: the two are equal but for rounding.
    signal = propagate(ResNetSpec("softplus", depth=50, sigma_w=0.0, skip=skip), m1=0.3, m2=0.09)
    assert (signal.m2 >= signal.m1**2).all()
    np.testing.assert_allclose(signal.m2, signal.m1**2, rtol=1e-13)


def test_a_centred_network_has_no_mean_and_the_variance_of_phi():
    plain = propagate(ResNetSpec("relu", depth=1, sigma_w=1.0))
    centred = propagate(ResNetSpec("relu", depth=1, sigma_w=1.0, centre=True))
    assert centred.m1[0] == 0.0
    assert centred.m2[0] == pytest.approx(1 + 0.5 - 0.5 / math.pi)
    assert plain.mean[0] == centred.mean[0] == pytest.approx(1 / math.sqrt(2 * math.pi))


def test_a_dropped_mean_is_another_signal():
    centred = propagate(ResNetSpec("relu", depth=50, centre=True)).m2[-1]
    assert propagate(ResNetSpec("relu", depth=50)).m2[-1] > 2 * centred


def test_signs_keep_the_mean_square_of_a_branch_and_no_coherent_mean():
    signal = propagate(ResNetSpec("sigmoid", depth=20, signs=True))
    assert not signal.m1.any()
    assert signal.m2[-1] == pytest.approx(1 + 20 * 0.25, rel=0.05)


def test_with_unit_pre_activations_every_layer_has_the_same_chi():
    point = working_point("tanh", like="relu")
    spec = ResNetSpec(point, depth=30, sigma_w=1.7, centre=True)
    assert spec.unit
    signal = propagate(spec)
    np.testing.assert_allclose(signal.chi, 1.7**2 * point.slope_square, rtol=1e-9)
    growth = 1 + 1.7**2 / 30 * point.energy
    np.testing.assert_allclose(signal.m2, growth ** np.arange(1, 31), rtol=1e-9)
    np.testing.assert_allclose(signal.mean, 0.0, atol=1e-9)  # psi has none


def test_a_specification_prints_its_switches_where_they_are_on():
    assert repr(ResNetSpec("relu", depth=2, centre=True)).endswith("skip=1.0, centre=True)")
    with pytest.raises(TypeError, match="`centre`"):
        ResNetSpec("relu", centre=1)
