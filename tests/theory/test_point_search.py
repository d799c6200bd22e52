import numpy as np
import pytest

from isometry.theory.activations.lookup import activation
from isometry.theory.point_search import Target, search

RELU = Target(np.array([0.7334711, 0.2334711, 0, 0.0194559, 0, 0.0058368, 0, 0.0026057]))


def test_a_trap_that_reaches_two_shares_loses_to_a_point_near_in_all():
    found = search(activation("elu"), RELU, 0.02).point
    assert found is not None
    # (.889, -1.733) has both shares to rounding, and a third one of .03
    assert found.scale > 2
    assert found.distance <= 0.005
    trap = search(activation("elu"), Target(RELU.shares[:2]), 0.02).point
    assert trap is not None
    assert trap.miss < 1e-8
    assert (trap.scale, trap.shift) == pytest.approx(
        (0.889, -1.733), abs=0.02
    )  # another program's, to 5e-5 of a share


def test_a_rectifier_has_no_scale_of_its_own():
    found = search(activation("leaky_relu(0.1)"), RELU, 0.02).point
    assert found is not None
    assert found.scale == 1.0
    assert 0.001 < found.miss < 0.02


@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
def test_the_ranges_of_what_is_never_near_are_returned():
    found = search(activation("sign"), RELU, 0.02)
    assert found.point is None
    assert found.ranges[0][1] == pytest.approx(2 / np.pi, abs=1e-3)


def test_what_is_reached_nearly_says_by_how_much_and_has_the_targets_sign():
    found = search(activation("softsign"), RELU, 0.02).point
    assert found is not None
    assert 0.01 < found.miss < 0.02
    assert found.shift < 0
    assert not found.mirrored


def test_a_tolerance_is_kept():
    assert search(activation("softsign"), RELU, 0.01).point is None
