import math

import pytest

from isometry.nn.init.targets import check_method, shares_of, target_of
from isometry.theory.laws.universal import UniversalLaw


def test_a_target_is_one_of_three_numbers():
    assert target_of(None, None, None) == (1.0, None)
    assert target_of(0.5, None, None) == (0.5, None)
    assert target_of(None, None, 0.25) == (0.25, None)
    c, kappa = target_of(None, 21.0, None)
    assert math.isclose(UniversalLaw(c).condition_number(), 21.0, rel_tol=1e-9)
    assert kappa == 21.0


@pytest.mark.parametrize("given", [(1.0, 2.0, None), (1.0, None, 1.0), (None, 2.0, 1.0)])
def test_two_of_them_are_refused(given):
    with pytest.raises(ValueError, match="expected one of them"):
        target_of(*given)


@pytest.mark.parametrize("given", [(0.0, None, None), (None, 1.0, None), (None, None, -1.0)])
def test_what_is_out_of_range_is_refused(given):
    with pytest.raises(ValueError, match="expected"):
        target_of(*given)


def test_shares_sum_to_one():
    assert shares_of(None, 4) == [0.25] * 4
    assert shares_of([1, 3], 2) == [0.25, 0.75]
    with pytest.raises(ValueError, match="has 2 entries; expected one for each of the 3 blocks"):
        shares_of([1, 3], 3)


def test_the_theory_sets_no_branch_gains():
    check_method("theory", by_gain=False)
    with pytest.raises(ValueError, match="expected 'data' or None"):
        check_method("theory", by_gain=True)
    with pytest.raises(ValueError, match="`method` is 'magic'"):
        check_method("magic", by_gain=False)
