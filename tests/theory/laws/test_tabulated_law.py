import math

import numpy as np
import pytest

from isometry.theory.laws.finite import FiniteDepthLaw
from isometry.theory.laws.point_mass import PointMass
from isometry.theory.laws.tables import Tables
from isometry.theory.laws.universal import UniversalLaw


def test_a_law_holds_tables_or_a_point_mass_and_makes_them_once():
    assert isinstance(UniversalLaw(0.0, 3.0)._held(), PointMass)
    assert isinstance(FiniteDepthLaw([[0.0]], [1.0], 0.5)._held(), PointMass)
    law = UniversalLaw(1.0, 3.0)
    assert isinstance(law._held(), Tables)
    assert UniversalLaw(1.0, 3.0)._held() is law._held()


def test_laws_of_one_c_share_their_shape_at_every_scale():
    c = 1.0703125  # of no other test: what is kept of a c that many have used may be of two ages
    assert UniversalLaw(c, 3.0)._held().shape is UniversalLaw(c, 5.0)._held().shape


def test_moments_at_and_below_the_order_of_a_hard_edge_are_infinite():
    law = FiniteDepthLaw.ginibre([1.0] * 3, skip=0.0)  # density of log lam like lam^(1/4)
    assert law.moment(-0.24) > 1
    for order in (-0.25, -1.0):
        with pytest.raises(ValueError, match="within float64's range"):
            law.moment(order)


def test_tables_and_formulas_take_a_law_to_zero_randomness_continuously():
    small, none = UniversalLaw(1e-12, 2.0), UniversalLaw(0.0, 2.0)
    for z in (1j, -3.0, 5.0 + 1e-3j):
        for method in ("formula", "quadrature"):
            near, at = (law.cauchy_transform(z, method=method) for law in (small, none))
            assert near == pytest.approx(at, rel=1e-9)
    assert math.isclose(small.mean(), none.mean(), rel_tol=1e-11)
    np.testing.assert_allclose(small.icdf([0.1, 0.9]), none.icdf([0.1, 0.9]), rtol=1e-5)
