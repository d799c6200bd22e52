import math

import pytest

from isometry.nn.linting.factors import depth_factors, fan_factors, named_factor


def test_a_factor_is_called_by_its_name_or_by_its_inverse():
    known = depth_factors(6, 12)
    assert named_factor(0.289, known) == ", which is 1/sqrt(2L) = 0.289"
    assert named_factor(3.46, known) == ", which is sqrt(2L) = 3.46"
    assert named_factor(1.41) == ", which is sqrt(2) = 1.41"
    assert named_factor(0.577) == ", which is 1/sqrt(3) = 0.577"


def test_a_factor_without_a_name_stays_without():
    assert named_factor(1.0, depth_factors(6, 12)) == ""
    assert named_factor(1.8, depth_factors(6, 12)) == ""


def test_fans_make_factors():
    assert fan_factors((176, 64), (64, 64))["sqrt(fan_in / fan_in')"] == pytest.approx(
        1.658, abs=1e-3
    )


def test_a_map_drawn_by_its_other_fan_has_a_factor():
    assert fan_factors((4, 16), (4, 16))["sqrt(fan_out / fan_in)"] == 2.0


def test_one_layer_has_no_factor_that_is_1():
    assert all(value < 0.97 for value in depth_factors(1, 1).values())


def test_a_factor_whose_name_is_its_value_is_said_once():
    assert named_factor(2.01) == ", which is 2"
    assert named_factor(0.5) == ", which is 1/2 = 0.5"


def test_a_ratio_to_zero_has_no_name():
    assert named_factor(0.0) == named_factor(math.inf) == ""
