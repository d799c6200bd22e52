import math
import time

import numpy as np
import pytest

from isometry.errors import AccuracyWarning
from isometry.theory.activations.definition import Activation
from isometry.theory.activations.lookup import activation
from isometry.theory.dual import dual_activation
from isometry.theory.gaussian import gaussian_moments

RHO = np.concatenate([np.linspace(-1, 1, 31), [-1 + 1e-9, 1 - 1e-9, 1 - 1e-5]])


def by_hand(name):
    """Return a named activation without what tells its closed form apart."""
    act = activation(name)
    return Activation("by hand", act.phi, act.dphi, act.breakpoints, panels=act.panels)


def test_relu_is_the_arc_cosine_kernel_without_its_constant():
    relu, angle = dual_activation("relu", 2.0), np.arccos(RHO)
    kernel = (np.sin(angle) + (np.pi - angle) * RHO) / np.pi
    np.testing.assert_allclose(relu(RHO), kernel - 1 / np.pi, atol=1e-14)
    np.testing.assert_allclose(relu.slope(RHO), (np.pi - angle) / np.pi, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "q"), [("relu", 1.0), ("leaky_relu(0.2)", 0.3), ("erf", 0.7), ("linear", 3.0)]
)
def test_integration_agrees_with_the_closed_form(name, q):
    closed, integrated = dual_activation(name, q), dual_activation(by_hand(name), q)
    np.testing.assert_allclose(integrated(RHO), closed(RHO), atol=1e-12 * closed.energy)
    slopes = closed.slope(RHO)
    np.testing.assert_allclose(integrated.slope(RHO), slopes, atol=1e-10 * slopes[-1])


@pytest.mark.parametrize(
    ("name", "q", "mean"), [("tanh", 1.0, 1.3), ("hardtanh", 0.3, 1.0), ("elu", 1.0, 0.0),
                            ("silu", 11.8, 0.26), ("gelu", 1.0, 0.0), ("softsign", 2.0, 0.0)],
)  # fmt: skip
def test_both_ends_are_the_energy_and_the_average_slope(name, q, mean):
    dual = dual_activation(name, q, mean)
    assert dual(1.0) == pytest.approx(dual.energy, rel=1e-12)
    assert dual(0.0) == 0.0
    assert dual.slope(1.0) == pytest.approx(dual.slope_square, rel=1e-10)
    if mean == 0.0:
        assert dual.slope_square == pytest.approx(
            q * gaussian_moments(name, q).slope_square, rel=1e-10
        )


@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
@pytest.mark.parametrize("name", ["hardtanh", "sign"])
def test_the_curve_is_smooth_where_the_series_meets_the_integral(name):
    dual = dual_activation(by_hand(name))
    at = 0.85
    assert dual(at + 1e-9) - dual(at - 1e-9) == pytest.approx(0.0, abs=5e-9 * dual.energy)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hardtanh", "tanh"])
def test_the_slope_is_the_derivative(name):
    dual, h = dual_activation(name, 1.5, 0.2), 1e-4
    rho = np.array([-0.95, -0.4, 0.3, 0.88, 0.97])
    differences = (dual(rho + h) - dual(rho - h)) / (2 * h)
    np.testing.assert_allclose(dual.slope(rho), differences, rtol=2e-6)


@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
def test_where_phi_jumps_the_slope_is_that_of_autograd():
    assert dual_activation("sign").slope(0.5) == 0.0
    jumping = activation("threshold(0.0, 1.0)")  # slope: that of ReLU
    for q in (1.0, 2.25):
        assert dual_activation(jumping, q).slope(0.3) == pytest.approx(
            dual_activation("relu", q).slope(0.3), rel=1e-10
        )


def test_a_callable_agrees_with_the_name_to_the_promise():
    named, callable_ = dual_activation("silu", 2.0, 0.3), dual_activation(
        lambda h: h / (1 + np.exp(-h)), 2.0, 0.3
    )  # fmt: skip
    np.testing.assert_allclose(callable_(RHO), named(RHO), atol=1e-8 * named.energy)
    np.testing.assert_allclose(callable_.shares(8), named.shares(8), atol=1e-8)


def test_an_exchange_of_q_and_mean_is_noticed():
    one, other = dual_activation("tanh", 0.9, 1.3), dual_activation("tanh", 1.3, 0.9)
    assert abs(one.shares(2)[0] - other.shares(2)[0]) > 0.05


def test_what_is_too_narrow_for_the_panels_is_said():
    comb = Activation("comb", lambda h: np.sin(300 * h), lambda h: 300 * np.cos(300 * h))
    with pytest.warns(AccuracyWarning, match="comb"):
        dual_activation(comb)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("relu", 0.0), ValueError, "`q` is 0.0"),
        (("relu", 1.0, math.inf), ValueError, "`mean`"),
        (("tanh", 1e-3, 40.0), ValueError, "constant"),
        (("softmax",), NotImplementedError, "elementwise"),
    ],
)
def test_what_has_no_dual_is_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        dual_activation(*arguments)


def test_a_correlation_beyond_one_is_refused_and_shapes_are_kept():
    dual = dual_activation("tanh")
    with pytest.raises(ValueError, match="between -1 and 1"):
        dual([0.0, 1.1])
    assert dual(np.zeros((2, 0))).shape == (2, 0)
    assert isinstance(dual(0.5), float)
    with pytest.raises(ValueError, match="`n` is 257"):
        dual.shares(257)


def test_a_named_dual_is_made_in_a_moment():
    dual_activation("gelu")
    start = time.process_time()
    dual_activation("tanh", 1.1)(0.99)
    assert time.process_time() - start < 1.0  # 0.02 measured


@pytest.mark.parametrize("q", [1e-320, 1e-160, 1e-8, 1e300])
def test_extreme_variances_have_the_dual_of_their_scale(q):
    dual = dual_activation("relu", q)
    assert dual.shares(2) == pytest.approx([0.7334711, 0.2334711], abs=1e-6 if q > 1e-300 else 0.1)


@pytest.mark.parametrize("mean", [1e155, 1e300])
def test_where_an_activation_is_constant_to_rounding_it_is_said(mean):
    with pytest.raises(ValueError, match="`relu`"):
        dual_activation("relu", 1.0, mean)


@pytest.mark.parametrize("name", ["hardtanh", "selu"])
def test_values_asked_for_one_by_one_are_those_of_the_table(name):
    rho = np.array([-1.0, -0.93, 0.86, 0.97, 0.99999, 1.0])
    single, table = dual_activation(name, 2.0), dual_activation(name, 2.0)
    table(np.linspace(0.86, 1.0, 40))
    table(np.linspace(-1.0, -0.86, 40))
    np.testing.assert_allclose(single(rho), table(rho), rtol=0, atol=1e-12 * single.energy)
    assert not np.allclose(single(rho), table(0.999 * rho), rtol=0, atol=1e-5 * single.energy)
