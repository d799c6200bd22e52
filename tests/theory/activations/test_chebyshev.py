import math

import numpy as np
import pytest

from isometry.errors import TheoryWarning
from isometry.theory.activations.lookup import activation
from isometry.theory.gaussian import gaussian_moments

JUMPS = pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")


@JUMPS
@pytest.mark.parametrize("kink", [1 / 3, -2.7182818, 37.0, -37.123456])
@pytest.mark.parametrize("jump", [False, True])
def test_a_kink_or_jump_anywhere_within_forty_is_found(kink, jump):
    act = activation(lambda h: h + np.where(h > kink, 3.0 if jump else h - kink, 0.0))
    assert act.breakpoints == pytest.approx((kink,), abs=1e-9)
    assert bool(act.jumps) == jump


def test_a_narrow_feature_is_found_and_integrated():
    # width 0.003: the finest promised; E of the bump is width * sqrt(pi) * density(3.3)
    act = activation(lambda h: np.exp(-(((h - 3.3) / 3e-3) ** 2)))
    wanted = 3e-3 * math.sqrt(math.pi) * math.exp(-(3.3**2) / 2) / math.sqrt(2 * math.pi)
    assert gaussian_moments(act, 1.0).mean == pytest.approx(wanted, rel=1e-4)


def test_given_breakpoints_reveal_what_the_scan_cannot_see():
    def spike(h):
        return h + np.where(np.abs(h - 100.0001) < 1e-5, 1.0, 0.0)

    ends = (100.0001 - 1e-5, 100.0001 + 1e-5)
    assert activation(spike).breakpoints == ()
    with pytest.warns(TheoryWarning, match="jumps"):
        act = activation(spike, breakpoints=ends)
    assert act.breakpoints == pytest.approx(ends)
    with pytest.warns(TheoryWarning, match="jumps"):
        assert activation(np.sign, breakpoints=(1.0,)).breakpoints == (0.0, 1.0)


def test_a_kink_beyond_the_fine_scan_is_integrated_and_breaks_the_symmetry():
    act = activation(lambda h: h + np.maximum(h - 543.21, 0.0))
    assert not act.odd
    assert gaussian_moments(act, 1e6).slope == pytest.approx(
        1 + 0.5 * math.erfc(0.54321 / math.sqrt(2)), rel=1e-9
    )
