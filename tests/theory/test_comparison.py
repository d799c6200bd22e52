import math

import numpy as np
import pytest
from scipy import stats

from isometry.theory.comparison import Comparison, compare, ks_tolerance
from isometry.theory.ensembles import residual_product, squared_singular_values
from isometry.theory.laws import FiniteDepthLaw, SingularValueLaw, UniversalLaw
from isometry.theory.prediction import finite_depth_law
from isometry.theory.propagation import ResNetSpec
from isometry.theory.spectrum import Spectrum

LAW = UniversalLaw(c=1.0)


def _exact(size=500, law=LAW):
    return law.icdf((np.arange(size) + 0.5) / size)


@pytest.fixture(scope="module")
def matrix_400():
    J = residual_product(400, 60, c=1.0, rng=np.random.default_rng(0))
    return Spectrum(squared_singular_values(J))


def test_ten_percent_wrong_c_is_rejected_and_the_right_one_is_not(matrix_400):
    right = compare(matrix_400, LAW)
    assert right.consistent
    assert right.ks < 0.02
    for wrong in (0.9, 1.1):
        found = compare(matrix_400, UniversalLaw(c=wrong))
        assert not found.consistent
        assert found.ks > 2 * right.ks
        assert not len(found.outlier_lam)


def test_tolerance_of_ks_holds_for_matrices_of_the_law():
    # N * KS was at most 3.1 in 40 draws at this size; 6 is allowed.
    for seed in range(8):
        J = residual_product(100, 40, c=1.0, rng=np.random.default_rng(seed))
        assert compare(Spectrum(squared_singular_values(J)), LAW).consistent
    assert ks_tolerance(100) == 0.06


def test_ks_is_that_of_scipy():
    values = LAW.sample(200, rng=np.random.default_rng(1))
    expected = stats.kstest(values, LAW.cdf).statistic
    assert compare(Spectrum(values), LAW).ks_all == pytest.approx(expected, rel=1e-6)


def test_exact_quantiles_are_at_the_resolution():
    found = compare(Spectrum(_exact()), LAW)
    assert found.ks == pytest.approx(1 / 1000, rel=1e-4)
    assert found.resolution == pytest.approx(1 / 1000)
    assert found.wasserstein_log < 4e-3  # the quantiles vary within each of the steps


def test_wasserstein_of_a_scaled_law_is_the_log_of_the_scale():
    found = compare(Spectrum(2.0 * _exact()), LAW)
    assert found.wasserstein_log == pytest.approx(math.log(2.0), rel=2e-3)


def test_wasserstein_agrees_with_scipy():
    other = UniversalLaw(c=1.3)
    fine = np.log(other.icdf((np.arange(20_000) + 0.5) / 20_000))
    expected = stats.wasserstein_distance(np.log(_exact()), fine)
    assert compare(Spectrum(_exact()), other).wasserstein_log == pytest.approx(expected, rel=2e-3)


def test_edges_are_those_of_the_law_and_of_the_bulk():
    values = _exact()
    found = compare(Spectrum(values), LAW)
    assert found.edges == LAW.support()
    assert found.measured_edges == (values[0], values[-1])


@pytest.mark.parametrize("place", [8.0, 30.0])
def test_a_value_beyond_the_edge_is_reported_apart(place):
    top = place**2 if place > 8 else 3 * LAW.support()[1]
    found = compare(Spectrum(np.append(_exact(), top)), LAW)
    np.testing.assert_array_equal(found.outlier_lam, [top])
    np.testing.assert_allclose(found.outlier_singular_values, [math.sqrt(top)])
    assert found.measured_edges[1] < LAW.support()[1]
    assert found.ks < found.ks_all


def test_values_below_the_bulk_are_reported_apart():
    found = compare(Spectrum(np.append(_exact(), [1e-4, 2e-4, 5e3])), LAW)
    np.testing.assert_array_equal(found.outlier_lam, [1e-4, 2e-4, 5e3])


def test_several_outliers_far_apart_are_all_found():
    found = compare(Spectrum(np.append(_exact(), [100.0, 1e3, 1e5])), LAW)
    np.testing.assert_array_equal(found.outlier_lam, [100.0, 1e3, 1e5])


def test_a_wrong_law_makes_no_outliers():
    found = compare(Spectrum(_exact()), UniversalLaw(c=0.3))
    assert not len(found.outlier_lam)
    assert found.ks > 0.1


def test_random_matrices_of_the_law_have_no_outliers():
    for seed in range(10):
        J = residual_product(60, 40, c=1.0, rng=np.random.default_rng(seed))
        assert not len(compare(Spectrum(squared_singular_values(J)), LAW).outlier_lam)


def test_two_outliers_among_ten_values_are_not_a_fraction_to_ignore():
    values = np.concatenate([_exact(8), [1e3, 1e4]])
    assert not len(compare(Spectrum(values), LAW).outlier_lam)


def test_weighted_nodes_stand_for_the_whole_spectrum():
    full = _exact(4000)
    nodes, weights = full.reshape(40, 100).mean(axis=1), np.full(40, 1 / 40)
    found = compare(Spectrum(nodes, weights, dimension=4000), LAW)
    assert found.dimension == 4000
    assert found.resolution == pytest.approx(1 / 80)
    assert found.ks < 0.03
    assert found.consistent


def test_weighted_outlier_of_tiny_weight_is_found():
    values = np.append(_exact(100), 400.0)
    weights = np.append(np.full(100, 0.999 / 100), 0.001)
    found = compare(Spectrum(values, weights, dimension=1000), LAW)
    np.testing.assert_array_equal(found.outlier_lam, [400.0])
    assert found.ks == pytest.approx(1 / 200, rel=1e-3)


def test_weights_equal_repetition():
    values = np.array([0.5, 1.0, 3.0])
    weighted = compare(Spectrum(values, np.array([0.25, 0.5, 0.25]), dimension=4), LAW)
    repeated = compare(Spectrum(np.array([0.5, 1.0, 1.0, 3.0])), LAW)
    assert weighted.ks == pytest.approx(repeated.ks, rel=1e-6)
    assert weighted.wasserstein_log == pytest.approx(repeated.wasserstein_log, rel=1e-2)


def test_vanishing_values_do_not_break_the_logarithms():
    few = compare(Spectrum(np.append(_exact(), np.zeros(3))), LAW)
    assert few.vanishing == pytest.approx(3 / 503)
    assert len(few.outlier_lam) == 3
    assert few.ks < 0.002
    many = compare(Spectrum(np.append(_exact(), np.zeros(500))), LAW)
    assert many.vanishing == pytest.approx(0.5)
    assert many.ks == pytest.approx(0.5, abs=0.01)
    assert many.wasserstein_log < 0.01
    assert many.measured_edges[0] > 0


def test_mostly_vanishing_spectrum_keeps_what_is_left_as_bulk():
    found = compare(Spectrum(np.append(np.zeros(97), [1.0, 2.0, 1e4])), LAW)
    assert found.measured_edges == (1.0, 1e4)
    assert math.isfinite(found.wasserstein_log)


def test_point_mass_is_matched_up_to_rounding():
    values = 1 + 1e-15 * np.arange(-5.0, 6.0)
    found = compare(Spectrum(values), UniversalLaw(c=0.0))
    assert found.ks < 1e-12
    assert not len(found.outlier_lam)
    assert compare(
        Spectrum(np.append(values, 2.0)), UniversalLaw(c=0.0)
    ).outlier_singular_values == [2**0.5]


def test_single_value_is_compared():
    assert compare(Spectrum([1.0]), LAW).ks == pytest.approx(0.5)


def test_results_become_plain_data():
    found = compare(Spectrum(_exact(20)), LAW)
    assert isinstance(found, Comparison)
    assert found.to_dict()["outlier_lam"] == []
    (row,) = found.rows()
    assert row["consistent"] is True


def test_only_a_spectrum_and_a_law_of_lam_are_compared():
    with pytest.raises(TypeError, match="spectrum"):
        compare(np.ones(3), LAW)
    with pytest.raises(TypeError, match="law"):
        compare(Spectrum([1.0]), 1.0)
    with pytest.raises(TypeError, match="`law` is a SingularValueLaw; expected a law of lam"):
        compare(Spectrum([1.0]), SingularValueLaw(LAW))
    with pytest.raises(ValueError, match="`spectrum` has only zeros"):
        compare(Spectrum([0.0, 0.0]), LAW)


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (2.5, TypeError)])
def test_tolerance_needs_a_number_of_values(size, error):
    with pytest.raises(error, match="`dimension`"):
        ks_tolerance(size)


ATOMS = [
    FiniteDepthLaw([[0.0, 2.0]] * 3, [0.5, 0.5], 0),
    FiniteDepthLaw([[0.0, 1.0]] * 2, [0.1, 0.9], 0),
    finite_depth_law(ResNetSpec("relu", depth=3, sigma_w=2.0, skip=0.0)),
]


@pytest.mark.parametrize("law", ATOMS, ids=["half", "a tenth", "ReLU"])
def test_exact_quantiles_of_a_law_with_an_atom_at_zero_are_at_the_resolution(law):
    found = compare(Spectrum(_exact(400, law)), law)
    assert found.vanishing == pytest.approx(law.atoms()[1][0], abs=1e-12)
    assert found.ks == pytest.approx(0.5 / 400, abs=1e-6)
    # steps against a curve: the span of log lam, about 25, over 4 times 200 values off zero
    assert found.wasserstein_log < 0.05
    assert found.consistent


@pytest.mark.parametrize("law", ATOMS, ids=["half", "a tenth", "ReLU"])
def test_an_atom_of_the_wrong_size_is_the_distance(law):
    lam = _exact(400, law)
    many = compare(Spectrum(np.where(np.arange(400) < 280, 0.0, lam)), law)
    atom = law.atoms()[1][0]
    assert many.ks == pytest.approx(0.7 - atom, abs=1e-2)


def test_a_law_wider_than_float64_is_compared_in_logarithms():
    law = UniversalLaw(1000.0)
    p = (np.arange(400) + 0.5) / 400
    inside = np.abs(law.log_icdf(p)) < 700
    found = compare(Spectrum(np.exp(law.log_icdf(p[inside]))), law)
    assert math.isfinite(found.wasserstein_log)
    assert found.ks == pytest.approx((1 - inside.mean()) / 2, abs=5e-3)


def test_zeros_that_a_decomposition_leaves_as_noise_meet_the_atom():
    rng = np.random.default_rng(2)
    J = np.eye(400)
    for _ in range(3):  # ReLU layers without a skip at He's variance: half the units are dead
        J = (rng.random(400) < 0.5)[:, None] * (rng.standard_normal((400, 400)) / 200**0.5 @ J)
    law = FiniteDepthLaw([[0.0, 2.0]] * 3, [0.5, 0.5], 0)
    spectrum = Spectrum.from_matrix(J)
    assert (spectrum.values > 0).mean() > 0.6  # noise, not zeros
    found = compare(spectrum, law)
    assert found.vanishing == pytest.approx(0.5, abs=0.08)
    # the largest number of dead units among three layers exceeds the half by its fluctuation
    assert found.ks == pytest.approx(found.vanishing - 0.5, abs=0.02)
