import dataclasses
import functools
import time

import numpy as np
import pytest

from isometry.theory.activations.lookup import activation
from isometry.theory.dual import dual_activation
from isometry.theory.working_point import ORDERS, WorkingPoint, working_point

RELU = dual_activation("relu").shares(ORDERS)


@functools.cache
def like_relu(name):
    return working_point(name, like="relu")


@pytest.mark.parametrize(
    ("name", "scale", "shift"),  # another program's: Nelder-Mead on a grid of 40,001 points
    [("gelu", 1.83, 0.159), ("silu", 3.47, 0.260), ("tanh", 0.958, 1.355),
     ("sigmoid", 1.916, 2.71)],
)  # fmt: skip
def test_the_points_with_the_shares_of_relu(name, scale, shift):
    point = like_relu(name)
    assert (point.linear, point.quadratic) == pytest.approx(RELU[:2], abs=1e-9)
    assert point.scale == pytest.approx(scale, rel=0.02)
    assert abs(point.shift) == pytest.approx(shift, abs=0.01)
    assert point.miss < 1e-9


def test_the_slope_of_psi_is_its_derivative():
    point = WorkingPoint.at("tanh", 1.7, 0.4)
    u, h = np.linspace(-2, 2, 9), 1e-6
    slopes = (point(u + h) - point(u - h)) / (2 * h)
    np.testing.assert_allclose(point.psi().dphi(u), slopes, rtol=1e-8)


def test_the_error_of_a_found_slope_is_that_of_psi():
    act = dataclasses.replace(activation("tanh"), slope_error=lambda h: 1e-9 * (1 + h**2))
    u = np.linspace(-2, 2, 9)
    found = WorkingPoint.at(act, 1.7, 0.4).psi().slope_error(u)
    np.testing.assert_allclose(found, 1.7e-9 * (1 + (1.7 * u + 0.4) ** 2))


def test_of_mirror_images_the_one_with_the_models_sign_is_taken():
    for name in ("tanh", "sigmoid", "hardtanh"):
        assert like_relu(name).dual().expansion.coefficients[1] > 0  # ReLU's is 1 / sqrt(4 pi)
    assert like_relu("tanh").shift < 0


def test_an_exchanged_scale_and_shift_has_other_shares():
    point = like_relu("tanh")
    exchanged = dual_activation("tanh", point.shift**2, -point.scale)
    assert abs(exchanged.shares(1)[0] - point.linear) > 0.03


@pytest.mark.parametrize("name", ["gelu", "elu", "sigmoid"])
def test_a_point_says_what_its_activation_is_there(name):
    point = like_relu(name)
    u = np.random.default_rng(0).standard_normal(400_000)
    psi = point(u)
    # 5 standard errors of 400,000 samples
    assert abs(psi.mean()) < 5 * psi.std() / np.sqrt(u.size)
    assert np.mean(psi**2) == pytest.approx(point.energy, rel=0.03)
    assert np.mean(psi * u) ** 2 / point.energy == pytest.approx(point.linear, abs=0.02)
    assert np.mean(psi**4) / point.energy**2 == pytest.approx(point.fourth_moment, rel=0.15)
    h = 1e-5
    slopes = (point(u + h) - point(u - h)) / (2 * h)
    assert np.mean(slopes**2) == pytest.approx(point.slope_square, rel=0.03)
    dual = point.dual()
    assert (dual.mean, dual.energy) == pytest.approx((point.mean, point.energy), rel=1e-12)
    np.testing.assert_allclose(dual.shares(2), [point.linear, point.quadratic], rtol=1e-12)


@pytest.mark.parametrize("name", ["softplus", "elu", "hardtanh", "silu"])
def test_no_point_is_nearly_quadratic(name):
    point = like_relu(name)
    assert (point.linear, point.quadratic) == pytest.approx(RELU[:2], abs=6e-3)
    assert 4.7 < point.fourth_moment < 7  # 13.8 and more at the traps; ReLU's is 5.4


def test_relu_is_where_it_is():
    point = working_point("relu")
    assert (point.scale, point.shift, point.miss) == pytest.approx((1.0, 0.0, 0.0), abs=1e-12)


def test_an_activation_like_another():
    point, gelu = working_point("silu", like="gelu"), dual_activation("gelu")
    np.testing.assert_allclose([point.linear, point.quadratic], gelu.shares(2), atol=1e-9)


def test_shares_can_be_asked_for_by_number():
    point = working_point("tanh", shares=(0.8, 0.1))
    assert (point.linear, point.quadratic) == pytest.approx((0.8, 0.1), abs=1e-9)
    assert point.distance is None


@pytest.mark.slow
def test_a_callable_gets_the_point_of_its_name():
    named, callable_ = (
        working_point(f, like="relu") for f in ("silu", lambda h: h / (1 + np.exp(-h)))
    )
    assert (callable_.scale, callable_.shift) == pytest.approx((named.scale, named.shift), rel=1e-6)


@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
@pytest.mark.parametrize("name", ["linear", "sign"])
def test_what_cannot_be_brought_there_is_refused_with_its_range(name):
    with pytest.raises(ValueError, match=r"linear share stays within \[\d\.\d{4}, \d\.\d{4}\]"):
        working_point(name, like="relu")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"like": "relu", "shares": (0.5, 0.1)}, ValueError, "expected one"),
        ({"shares": 0.5}, ValueError, "linear, quadratic"),
        ({"shares": (0.9, 0.2)}, ValueError, "at most 1"),
        ({"shares": (-0.1, 0.2)}, ValueError, "-0.1"),
        ({"tolerance": -1.0}, ValueError, "tolerance"),
        ({"like": "rely"}, ValueError, "relu"),
    ],
)
def test_wrong_wishes_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        working_point("tanh", **options)


def test_a_named_point_takes_a_second():
    start = time.process_time()
    working_point("mish", like="relu")
    assert time.process_time() - start < 5.0  # 0.6 measured


def test_a_point_is_a_result():
    point = working_point("relu")
    assert point.to_dict()["linear"] == pytest.approx(0.7334711, abs=1e-6)
    assert "WorkingPoint" in repr(point)


def test_a_point_by_hand_is_what_it_says():
    point, dual = WorkingPoint.at("tanh", 0.9, 1.3), dual_activation("tanh", 0.81, 1.3)
    assert (point.scale, point.shift, point.miss) == (0.9, 1.3, 0.0)
    assert (point.mean, point.energy) == pytest.approx((dual.mean, dual.energy), rel=1e-12)
    with pytest.raises(ValueError, match="`scale` is 0"):
        WorkingPoint.at("tanh", 0.0)
