import math

import numpy as np
import pytest

from isometry.theory.activations.lookup import activation
from isometry.theory.comparison import compare
from isometry.theory.gaussian import gaussian_nodes
from isometry.theory.laws import FiniteDepthLaw, UniversalLaw
from isometry.theory.prediction import finite_depth_law, jacobian_law, predict_outliers
from isometry.theory.propagation import ResNetSpec, propagate
from isometry.theory.spectrum import Spectrum


def _jacobian(spec, *, width, seed):
    rng = np.random.default_rng(seed)
    act = activation(spec.activation)
    x = rng.standard_normal(width)
    x = (x - x.mean()) / x.std()
    J = np.eye(width)
    for _ in range(spec.depth):
        W = rng.standard_normal((width, width)) * spec.sigma_w / math.sqrt(width * spec.depth)
        h = W @ x + spec.sigma_b * rng.standard_normal(width)
        J = spec.skip * J + act.dphi(h)[:, None] * (W @ J)
        x = act(h) + spec.skip * x
    return J


@pytest.mark.parametrize(
    "spec",
    [
        ResNetSpec("relu", depth=60, sigma_w=math.sqrt(2.0)),
        ResNetSpec("tanh", depth=60, sigma_w=1.5, sigma_b=0.5, skip=0.97),
        ResNetSpec("gelu", depth=60, sigma_w=1.5, sigma_b=0.3, skip=-1.0),
    ],
    ids=["relu", "tanh with skip 0.97", "gelu with skip -1"],
)
def test_networks_follow_the_law_of_their_specification(spec):
    spectrum = Spectrum.from_matrix(_jacobian(spec, width=300, seed=0))
    law = jacobian_law(spec)
    # 1/L of finite depth and a c that fluctuates by a few per cent at width 300.
    assert compare(spectrum, law).ks < 0.025
    wrong = UniversalLaw(c=1.5 * law.c, scale=law.scale)
    assert compare(spectrum, wrong).ks > 0.06


def test_law_of_a_specification_carries_the_skip():
    law = jacobian_law(ResNetSpec("relu", depth=10, skip=-0.5))
    assert law.c == pytest.approx(0.5 / 0.25)
    assert law.scale == pytest.approx(0.5**20)


def test_law_needs_a_skip_and_a_scale_within_range():
    with pytest.raises(NotImplementedError, match="`spec` has skip = 0"):
        jacobian_law(ResNetSpec(skip=0.0))
    with pytest.raises(OverflowError, match=r"Bring skip = 0\.5 closer to 1"):
        jacobian_law(ResNetSpec("tanh", depth=1000, skip=0.5))


@pytest.mark.parametrize(
    ("spec", "law_is_far"),
    [
        (ResNetSpec("relu", depth=10, sigma_w=2.0), True),
        (ResNetSpec("gelu", depth=4, sigma_w=2.0, sigma_b=0.3), True),
        (ResNetSpec("hardtanh", depth=4, sigma_w=1.2, sigma_b=0.3, skip=0.8), True),
        (ResNetSpec("tanh", depth=40, sigma_w=1.5, sigma_b=0.5), False),
    ],
    ids=["relu", "gelu", "hardtanh with skip 0.8", "tanh, deep"],
)
def test_shallow_networks_follow_the_law_of_their_depth(spec, law_is_far):
    spectrum = Spectrum.from_matrix(_jacobian(spec, width=300, seed=1))
    ks = compare(spectrum, finite_depth_law(spec)).ks
    assert ks < 0.025  # N = 300: rigidity 0.01, the rest is the fluctuation of c
    if law_is_far:
        assert compare(spectrum, jacobian_law(spec)).ks > 2 * ks


def test_law_at_finite_depth_has_the_exact_mean():
    # E lam = prod (a^2 + chi_l / L): free layers multiply their means, whatever is shared.
    for spec in (
        ResNetSpec("gelu", depth=5, sigma_w=2.0, sigma_b=0.5, skip=0.9),
        ResNetSpec("elu", depth=70, sigma_w=1.5),
        ResNetSpec("erf", depth=100, sigma_w=8.0),
        ResNetSpec("selu", depth=100, sigma_w=4.0, skip=0.9),
        ResNetSpec("tanh", depth=40, sigma_w=9.0, skip=0.0),
    ):
        law = finite_depth_law(spec)
        expected = np.log(spec.skip**2 + propagate(spec).chi / spec.depth).sum()
        # Gauss rules and the table of averages: 1e-10 a layer at worst
        assert math.log(law.mean()) == pytest.approx(expected, abs=1e-8)


def test_piecewise_linear_layers_keep_their_exact_atoms():
    law = finite_depth_law(ResNetSpec("leaky_relu(0.1)", depth=50, sigma_w=2.0))
    np.testing.assert_allclose(law.d, 0.08 * np.tile([0.01, 1.0], (50, 1)), rtol=1e-14)
    np.testing.assert_allclose(law.weights, 0.5, rtol=1e-14)
    assert len(np.unique(law.weights)) == 1  # equal layers are recognised as equal


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_slopes_in_few_atoms_have_the_moments_of_the_activation(depth):
    spec = ResNetSpec("gelu", depth=depth, sigma_w=1.0, sigma_b=1.0)
    law, q = finite_depth_law(spec), propagate(spec).q
    h, weights = gaussian_nodes(float(q[0]), activation("gelu").breakpoints)
    for power in range(1, 16):
        exact = weights @ activation("gelu").dphi(h) ** (2 * power) / depth**power
        assert law.weights[0] @ law.d[0] ** power == pytest.approx(exact, rel=1e-12)


def test_layers_with_different_numbers_of_atoms_are_padded():
    # q of order 1e-3 does not reach the kinks of hard tanh at first, that of later layers does.
    law = finite_depth_law(ResNetSpec("hardtanh", depth=6, sigma_w=4.0), m1=0.0, m2=1e-3)
    assert law.d.shape == law.weights.shape == (6, 2)
    np.testing.assert_allclose(law.weights.sum(axis=1), 1.0)


def test_outliers_of_a_network_without_skip_are_not_covered():
    with pytest.raises(NotImplementedError, match="`spec` has skip = 0"):
        predict_outliers(ResNetSpec("relu", skip=0.0))


@pytest.mark.parametrize(("m1", "m2", "message"), [(2.0, 1.0, "`m2`"), (math.nan, 1.0, "`m1`")])
def test_outliers_for_impossible_moments_are_refused(m1, m2, message):
    with pytest.raises(ValueError, match=message):
        predict_outliers(ResNetSpec("relu"), m1=m1, m2=m2)


def test_outliers_for_a_moment_that_is_no_number_are_refused():
    with pytest.raises(TypeError, match="`m1` is 'x'"):
        predict_outliers(ResNetSpec("relu"), m1="x")


def test_overflow_of_the_tangent_vector_is_reported():
    with pytest.raises(OverflowError, match="overflows"):
        predict_outliers(ResNetSpec("relu", depth=1000, sigma_w=1e3))


@pytest.mark.parametrize("call", [jacobian_law, finite_depth_law, predict_outliers])
def test_predictions_need_a_specification(call):
    with pytest.raises(TypeError, match="`spec` is 'relu'; expected a ResNetSpec"):
        call("relu")


@pytest.mark.parametrize("depth", [2, 3, 10])
def test_the_atom_of_flat_pieces_beside_smooth_ones_is_kept(depth):
    # hardswish has slope 0 below -3 and a smooth one above it; without a skip the dead units of
    # the layer with the most of them are the atom of the product at lam = 0
    spec = ResNetSpec("hardswish", depth=depth, sigma_w=4.0, sigma_b=1.0, skip=0.0)
    law = finite_depth_law(spec)
    dead = [0.5 * math.erfc(3 / math.sqrt(2 * q)) for q in propagate(spec).q]
    (place,), (mass,) = law.atoms()
    assert place == 0
    assert mass == pytest.approx(max(dead), rel=1e-9)
    assert law.cdf(0.0) == pytest.approx(max(dead), rel=1e-9)


def test_outliers_of_a_vanishing_skip_are_refused_in_a_sentence():
    with pytest.raises(OverflowError, match="is outside float64"):
        predict_outliers(ResNetSpec("relu", depth=5, skip=1e-170))


def test_few_nodes_a_layer_give_the_quantiles_of_two_hundred():
    spec = ResNetSpec("gelu", depth=12, sigma_w=1.5)
    z, weights = np.polynomial.hermite_e.hermegauss(200)
    act = activation("gelu")
    slopes = np.array([act.dphi(np.sqrt(q) * z) ** 2 for q in propagate(spec).q])
    fine = FiniteDepthLaw(d=1.5**2 / 12 * slopes, weights=weights / weights.sum())
    p = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
    # eight nodes a layer agree to 2e-15, three would be off by 3e-8 and two by 5e-5
    np.testing.assert_allclose(
        np.log(finite_depth_law(spec).icdf(p)), np.log(fine.icdf(p)), rtol=0, atol=1e-10
    )
