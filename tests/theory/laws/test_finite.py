import dataclasses
import math

import numpy as np
import pytest

from cases_laws import CRITICAL, GINIBRE_5, HALF_DEAD, MARCHENKO_PASTUR, RELU_3
from isometry.errors import ConvergenceError
from isometry.theory.laws.finite import FiniteDepthLaw
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.prediction import finite_depth_law
from isometry.theory.propagation import ResNetSpec

HALVES = np.array([0.5, 0.5])


def simulate(d, weights, *, depth, width, rng):
    J = np.eye(width)
    for _ in range(depth):
        D = np.sqrt(rng.choice(d, p=weights, size=width))
        J = J + D[:, None] * (rng.standard_normal((width, width)) @ J) / np.sqrt(width)
    return np.sort(np.linalg.svd(J, compute_uv=False) ** 2)


def distance(law, lam):
    return np.abs(law.cdf(lam) - (np.arange(lam.size) + 0.5) / lam.size).max()


@pytest.mark.parametrize(
    ("depth", "edges"), [(5, (0.0296, 14.91)), (10, (0.0382, 17.52)), (100, (0.0465, 20.68))]
)
def test_the_edges_at_c_one_match_the_reference_values(depth, edges):
    law = FiniteDepthLaw.ginibre(np.full(depth, 1 / depth))
    np.testing.assert_allclose(law.support(), edges, rtol=2e-3)  # as printed


@pytest.mark.parametrize(
    ("d", "weights", "depth"),
    [((0.2,), (1.0,), 5), ((0.0, 1 / 3), (0.5, 0.5), 3), ((0.0, 0.5, 2.0), (0.3, 0.5, 0.2), 1)],
    ids=["Ginibre", "ReLU", "three values"],
)
def test_one_random_product_follows_the_law_and_not_one_ten_percent_off(d, weights, depth):
    lam = simulate(d, weights, depth=depth, width=400, rng=np.random.default_rng(1))
    right = FiniteDepthLaw(d=np.tile(d, (depth, 1)), weights=np.array(weights))
    wrong = FiniteDepthLaw(d=1.1 * np.tile(d, (depth, 1)), weights=np.array(weights))
    # eigenvalues repel: a few spacings of 1/N; the wrong law is off by several times that
    assert distance(right, lam) < 0.012
    assert distance(wrong, lam) > 0.012


def test_the_limit_of_large_depth_is_the_universal_law():
    law, limit = FiniteDepthLaw.ginibre(np.full(10_000, 1e-4)), UniversalLaw(1.0)
    p = np.linspace(0.01, 0.99, 30)
    np.testing.assert_allclose(law.icdf(p), limit.icdf(p), rtol=3e-4)  # O(1/L)


def test_the_first_correction_in_depth_is_that_of_the_theory():
    law, w = FiniteDepthLaw.ginibre(np.full(400, 1 / 400)), -0.3
    b = 1 + 2 * w
    assert np.log(law.s_transform(w, method="formula").real) == pytest.approx(
        -b + (3 * b**2 - 1) / 1600,
        abs=1e-5,  # O(1/L^2)
    )


def test_one_ginibre_layer_has_the_s_transform_of_the_theory():
    s, w = 0.7, np.array([-0.9, -0.5, -0.2])
    b = 1 + 2 * w
    wanted = (1 + s * b - np.sqrt(1 + 2 * s * b + s**2)) / (2 * s**2 * w * (1 + w))
    found = FiniteDepthLaw.ginibre(np.array([s])).s_transform(w, method="formula")
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_no_skip_and_one_layer_is_marchenko_and_pastur():
    lam = np.array([1e-6, 0.1, 1.0, 3.9])
    wanted = np.sqrt((4 - lam) / lam) / (2 * np.pi)
    np.testing.assert_allclose(MARCHENKO_PASTUR.pdf(lam), wanted, rtol=1e-9)
    assert MARCHENKO_PASTUR.moment(2) == pytest.approx(2, rel=1e-10)
    assert MARCHENKO_PASTUR.log_mean() == pytest.approx(-1, rel=1e-9)


def test_dead_units_without_a_skip_leave_an_atom_at_zero():
    np.testing.assert_array_equal(HALF_DEAD.atoms(), [[0.0], [0.5]])
    low, high = np.exp(HALF_DEAD.log_support())
    np.testing.assert_allclose([low, high], [(1 - 0.5**0.5) ** 2, (1 + 0.5**0.5) ** 2], rtol=1e-9)
    assert HALF_DEAD.cdf(0.0) == 0.5
    assert HALF_DEAD.icdf(0.4) == 0.0
    assert HALF_DEAD.condition_number() == np.inf


def test_a_critical_layer_diverges_at_zero():
    assert CRITICAL.support()[0] == 0.0
    ratio = CRITICAL.cdf(1e-9) / CRITICAL.cdf(1e-12)
    assert ratio == pytest.approx(100, rel=0.05)  # the mass below lam grows like lam^(2/3)


@pytest.mark.parametrize("depth", [2, 3, 4, 10])
def test_relu_converges_at_every_point(depth):
    law = FiniteDepthLaw(d=np.full((depth, 2), [0.0, 1 / depth]), weights=HALVES)
    lam = np.exp(np.linspace(*law.log_support(), 500))
    assert (law.pdf(lam[1:-1]) > 0).all()
    assert law.moment(1, method="quadrature") == pytest.approx((1 + 0.5 / depth) ** depth)


def test_layers_may_differ_and_their_order_does_not_matter():
    d = np.array([[0.0, 0.3], [0.0, 0.1], [0.05, 0.2]])
    law = FiniteDepthLaw(d=d, weights=HALVES)
    back = FiniteDepthLaw(d=d[::-1], weights=np.tile(HALVES, (3, 1)))
    assert law != back
    lam = np.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(law.cdf(lam), back.cdf(lam), rtol=1e-9)
    assert law.mean() == pytest.approx(1.15 * 1.05 * 1.125)


def test_a_long_law_prints_a_summary():
    law = FiniteDepthLaw.ginibre(np.full(100, 0.01))
    assert repr(law) == "<FiniteDepthLaw: depth=100, n=1, skip=1.0>"


@pytest.mark.parametrize("law", [GINIBRE_5, RELU_3], ids=["Ginibre", "ReLU"])
def test_both_routes_to_the_cauchy_transform_agree(law):
    z = np.array([-3.0, 1 + 1j, 40 - 0.1j, 0.0, 100.0])
    np.testing.assert_allclose(
        law.cauchy_transform(z, method="formula"), law.cauchy_transform(z), rtol=1e-9
    )


def test_an_infinite_moment_is_refused():
    with pytest.raises(ValueError, match="within float64's range"):
        CRITICAL.moment(-1)


@pytest.mark.parametrize(("d", "skip"), [(0.1, 1.0), (1.0, 0.9), (30.0, 0.7)])
def test_one_layer_with_just_half_its_units_dead_has_the_law_of_large_matrices(d, skip):
    width, rng = 400, np.random.default_rng(0)
    D = np.where(np.arange(width) < width // 2, 0.0, math.sqrt(d))
    A = skip * np.eye(width) + D[:, None] * rng.standard_normal((width, width)) / width**0.5
    lam = np.sort(np.linalg.svd(A, compute_uv=False) ** 2)
    right = FiniteDepthLaw([[0.0, d]], HALVES, skip)
    assert distance(right, lam) < 0.008  # eigenvalues repel: three spacings
    assert distance(right, skip**2 + 1.1 * (lam - skip**2)) > 0.008
    # An atom at a^2 that just forms: half of the mass on either side, and a gap above it.
    assert right.cdf(skip**2) == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(ValueError, match="density exceeds"):
        right.pdf(skip**2)
    if skip == 1.0 and d == 0.1:
        assert right.cdf(1 + 0.9 * d**2 / 108) == right.cdf(1.0)
        assert right.cdf(1 + 1.1 * d**2 / 108) > right.cdf(1.0)


def test_half_but_for_rounding_is_half():
    near = FiniteDepthLaw([[0.0, 1.0]], [0.5 + 1e-10, 0.5 - 1e-10])
    half = FiniteDepthLaw([[0.0, 1.0]], HALVES)
    lam = np.array([0.1, 0.5, 0.99, 1.005, 1.5, 4.0])
    np.testing.assert_allclose(near.cdf(lam), half.cdf(lam), atol=1e-8)
    assert not near.atoms()[0].size


def test_two_layers_whose_dead_units_add_up_to_just_an_atom_are_solved():
    width, rng = 400, np.random.default_rng(1)
    A = np.eye(width)
    for dead, d in ((0.7, 1.0), (0.8, 2.0)):
        D = np.where(np.arange(width) < dead * width, 0.0, math.sqrt(d))
        Q, _ = np.linalg.qr(rng.standard_normal((width, width)))  # axes of its own: free layers
        A = A + Q @ (D[:, None] * (rng.standard_normal((width, width)) @ (Q.T @ A))) / width**0.5
    lam = np.sort(np.linalg.svd(A, compute_uv=False) ** 2)
    law = FiniteDepthLaw([[0.0, 1.0], [0.0, 2.0]], [[0.7, 0.3], [0.8, 0.2]])
    assert distance(law, lam) < 0.008
    assert distance(law, 1.1 * lam) > 0.008


def test_almost_half_of_the_units_dead_is_refused_and_no_number():
    law = FiniteDepthLaw([[0.0, 1.0]], [0.4999, 0.5001])
    with pytest.raises(ConvergenceError, match="diverges at an edge"):
        law.cdf(1.0)


def test_a_refusal_says_what_to_change_of_an_activation_and_that_helps():
    spec = ResNetSpec("silu", depth=1, sigma_w=0.3)
    with pytest.raises(ConvergenceError, match=r"of an activation, `sigma_w` by a fifth"):
        finite_depth_law(spec).cdf(1.0)
    larger = dataclasses.replace(spec, sigma_w=1.2 * spec.sigma_w)
    assert 0 < finite_depth_law(larger).cdf(1.0) < 1


@pytest.mark.parametrize(
    "activation",
    ["leaky_relu(0)", "hardtanh(-0.67448975, 0.67448975)", "hardshrink(0.6744898)", "hardswish"],
)
@pytest.mark.filterwarnings("ignore::isometry.TheoryWarning")  # jumps: not what is asked here
def test_one_layer_of_any_kinked_slope_is_solved(activation):
    law = finite_depth_law(ResNetSpec(activation, depth=1))
    t, weights = law._nodes()
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)
    assert weights @ np.exp(t) == pytest.approx(law.mean(), rel=1e-5)


def test_one_leaky_layer_without_a_skip_has_both_its_clusters():
    slope = 1e-4
    law = finite_depth_law(ResNetSpec(f"leaky_relu({slope})", depth=1, sigma_w=1.0, skip=0.0))
    # (D W)(D W)^T of two scales: the large half is Marchenko and Pastur's, the small one below.
    alone = FiniteDepthLaw([[0.0, 1.0]], HALVES, 0.0)
    lam = alone.icdf([0.55, 0.75, 0.95])
    np.testing.assert_allclose(law.cdf(lam), [0.55, 0.75, 0.95], atol=10 * slope)
    assert law.cdf(0.02) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("dead", "atom"), [(0.3, None), (0.7, 0.4)])
def test_one_layer_with_dead_units_has_the_law_of_large_matrices(dead, atom):
    law = FiniteDepthLaw(d=np.array([[0.0, 5.0]]), weights=np.array([dead, 1 - dead]))
    width, rng = 600, np.random.default_rng(0)
    D = np.where(np.arange(width) < dead * width, 0.0, math.sqrt(5.0))
    A = np.eye(width) + D[:, None] * rng.standard_normal((width, width)) / math.sqrt(width)
    lam = np.linalg.svd(A, compute_uv=False) ** 2
    places, weights = law.atoms()
    assert (len(places) == 0) == (atom is None)
    if atom:
        np.testing.assert_allclose(weights, [atom])
        assert np.isclose(lam, 1.0).mean() == pytest.approx(atom)
    away = np.array([0.1, 0.5, 0.8, 2.5, 6.0, 10.0])
    # Eigenvalues repel: counts are right to a few.
    counted = (lam[:, None] <= away).mean(axis=0)
    np.testing.assert_allclose(law.cdf(away), counted, atol=5 / width)
    wrong = FiniteDepthLaw(d=np.array([[0.0, 5.5]]), weights=np.array([dead, 1 - dead]))
    assert np.abs(wrong.cdf(away) - counted).max() > 5 / width


def test_slopes_far_apart_leave_a_gap_in_the_support():
    law = FiniteDepthLaw(d=np.array([[1e-6, 5.0]]), weights=HALVES)
    assert law.pdf(1.05) == 0.0
    assert law.cdf(1.05) == pytest.approx(0.5, abs=0.2)
    t, weights = law._nodes()
    assert weights.sum() == pytest.approx(1, abs=1e-8)
    assert weights @ np.exp(t) == pytest.approx(law.mean(), rel=1e-6)


def test_the_s_transform_states_its_range():
    with pytest.raises(ValueError, match="`w` leaves"):
        GINIBRE_5.s_transform([-0.5, 0.5], method="formula")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(3), np.ones(1)), r"`d` has shape \(3,\)"),
        ((np.ones((0, 1)), np.ones(1)), r"`d` has shape \(0, 1\)"),
        ((np.full((2, 1), np.inf), np.ones(1)), "`d` has shape .* maximum inf"),
        ((-np.ones((2, 1)), np.ones(1)), "`d` contains -1"),
        ((np.ones((2, 2)), np.ones(3)), r"`weights` has shape \(3,\); expected \(2, 2\) or \(2,\)"),
        ((np.ones((2, 2)), np.ones(2)), "`weights` has a row that sums to 2; expected 1"),
        ((np.ones((2, 1)), np.ones(1), np.nan), "`skip` is nan"),
        ((np.zeros((2, 1)), np.ones(1), 0.0), "`d` is 0 in a whole layer"),
    ],
)
def test_bad_layers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FiniteDepthLaw(*arguments)


@pytest.mark.parametrize("s", [np.ones((2, 2)), np.empty(0)])
def test_ginibre_layers_want_a_vector(s):
    with pytest.raises(ValueError, match="`s` has shape"):
        FiniteDepthLaw.ginibre(s)


def test_one_dead_layer_among_others_is_refused_without_a_skip():
    with pytest.raises(ValueError, match="`d` is 0 in a whole layer"):
        FiniteDepthLaw(d=np.array([[1.0], [0.0]]), weights=np.ones(1), skip=0.0)


def test_the_s_transform_ends_at_the_mass_off_zero():
    with pytest.raises(ValueError, match=r"`w` leaves \(-0\.5, 0\)"):
        HALF_DEAD.s_transform(-0.6, method="formula")


def test_weights_that_sum_to_one_but_for_rounding_are_made_to():
    law = FiniteDepthLaw(d=np.ones((1, 2)), weights=np.array([0.5, 0.5 + 5e-7]))
    assert law.weights.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(("depth", "s"), [(100, 1e-10), (100, 1e-18), (5, 2e-13), (1, 1e-12)])
@pytest.mark.parametrize("skip", [1.0, 0.8])
def test_supports_too_narrow_to_be_solved_are_those_of_the_limit(depth, s, skip):
    law = FiniteDepthLaw.ginibre(np.full(depth, s), skip=skip)
    c = depth * s / skip**2
    p = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(law.log_variance(), 2 * c, rtol=1e-4)
    # log lam is a float: its last digit against the width of the support
    resolution = 1e-15 * (1 + abs(law.log_support()[0])) / np.sqrt(c)
    np.testing.assert_allclose(law.cdf(law.icdf(p)), p, atol=1e-8 + resolution)


def test_a_narrow_law_that_is_solved_agrees_with_the_limit_as_the_theory_says():
    law, limit = FiniteDepthLaw.ginibre(np.full(5, 2e-8)), UniversalLaw(1e-7)
    lam = limit.icdf(np.linspace(0.01, 0.99, 41))
    gap = np.abs(law.cdf(lam) - limit.cdf(lam)).max()
    assert 0.01 < gap / (np.sqrt(1e-7) / 5) < 0.4  # .34 at most, by (35)
