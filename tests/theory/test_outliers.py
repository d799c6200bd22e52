import math

import numpy as np
import pytest

from isometry.theory.activations.lookup import activation
from isometry.theory.laws import UniversalLaw
from isometry.theory.outliers import tangent_growth
from isometry.theory.prediction import predict_outliers
from isometry.theory.propagation import ResNetSpec, effective_cumulant

# theory.md: the bound, and the largest singular value measured at N = 800 (ReLU at sqrt 2: 1500).
KNOWN = [
    (ResNetSpec("relu", depth=50), "12.2", 13.0),
    (ResNetSpec("relu", depth=30, sigma_w=math.sqrt(2.0)), "16.1", 18.5),
    (ResNetSpec("gelu", depth=50, sigma_w=2.0, sigma_b=math.sqrt(0.05)), "89", 113),
    (ResNetSpec("softplus", depth=50), "8.6", 9.2),
]


def _largest(spec, x, *, seed):
    """The two largest singular values of one network's Jacobian at x."""
    rng = np.random.default_rng(seed)
    act, width = activation(spec.activation), len(x)
    J = np.eye(width)
    for _ in range(spec.depth):
        W = rng.standard_normal((width, width)) * spec.sigma_w / math.sqrt(width * spec.depth)
        h = W @ x + spec.sigma_b * rng.standard_normal(width)
        J = spec.skip * J + act.dphi(h)[:, None] * (W @ J)
        x = act(h) + spec.skip * x
    return np.linalg.svd(J, compute_uv=False)[:2]


@pytest.mark.parametrize(("spec", "bound", "measured"), KNOWN)
def test_bounds_are_those_of_the_known_cases_and_below_what_was_measured(spec, bound, measured):
    (s,) = predict_outliers(spec)
    assert f"{s:.{len(bound.replace('.', ''))}g}" == bound
    assert s < measured


@pytest.mark.parametrize("name", ["linear", "tanh", "hardtanh", "erf", "sin", "softsign"])
@pytest.mark.parametrize("sigma_b", [0.0, 0.5])
def test_odd_activations_have_no_outlier(name, sigma_b):
    assert predict_outliers(ResNetSpec(name, depth=12, sigma_b=sigma_b), m1=0.3, m2=1.0).shape == (
        0,
    )


def _input(m1, m2):
    noise = np.random.default_rng(3).standard_normal(200)
    return m1 + math.sqrt(m2 - m1**2) * (noise - noise.mean()) / noise.std()


def _edge(spec, m1, m2):
    c = effective_cumulant(spec, m1=m1, m2=m2) / spec.skip**2
    return math.sqrt(UniversalLaw(c=c).support()[1]) * abs(spec.skip) ** spec.depth


@pytest.mark.parametrize(
    ("spec", "m1", "m2"),
    [
        (ResNetSpec("relu", depth=40), 0.0, 1.0),
        (ResNetSpec("relu", depth=40, skip=0.9), 0.0, 1.0),
        (ResNetSpec("relu", depth=40), 1.0, 1.0),
    ],
    ids=["plain", "skip 0.9", "constant input"],
)
def test_bound_is_below_the_largest_of_a_network_whose_second_is_in_the_bulk(spec, m1, m2):
    first, second = _largest(spec, _input(m1, m2), seed=4)
    (bound,) = predict_outliers(spec, m1=m1, m2=m2)
    # Four networks of width 200 had bound / largest between 0.87 and 0.96.
    assert 0.8 * first < bound < 1.02 * first
    assert second < 1.05 * _edge(spec, m1, m2)


def test_alternating_skip_keeps_the_mean_from_growing():
    spec = ResNetSpec("softplus", depth=40, sigma_b=0.3, skip=-1.0)
    assert not len(predict_outliers(spec, m1=1.0, m2=2.0))
    assert _largest(spec, _input(1.0, 2.0), seed=4)[0] < 1.05 * _edge(spec, 1.0, 2.0)


def test_skip_rescales_layer_by_layer():
    # a x + phi(a W x) = a (x + phi(W x)) for ReLU: every layer is a times that at unit skip.
    plain = predict_outliers(ResNetSpec("relu", depth=40))
    scaled = predict_outliers(ResNetSpec("relu", depth=40, sigma_w=0.8, skip=0.8))
    np.testing.assert_allclose(scaled, 0.8**40 * plain, rtol=1e-12)


def test_outlier_grows_with_depth_like_the_exponential_of_its_root():
    depths = np.array([100, 400])
    s = [predict_outliers(ResNetSpec("relu", depth=int(L)))[-1] for L in depths]
    # exp(sigma_w sqrt(L / 2 pi)) up to a power of L; theory.md saw 42 and 2239 at N = 300.
    growth = math.log(s[1] / s[0]) / (math.sqrt(400) - math.sqrt(100))
    assert growth == pytest.approx(1 / math.sqrt(2 * math.pi), rel=0.02)


def test_vanishing_input_without_bias_has_no_direction_of_its_own():
    assert predict_outliers(ResNetSpec("relu", depth=50), m1=0.0, m2=0.0).shape == (0,)


@pytest.mark.parametrize("skip", [0.6, -1.5])
def test_one_layer_with_a_skip_grows_tangents_as_the_branch_over_the_skip_does(skip):
    # J / a = 1 + (phi' / a) W: dividing the activation by the skip is the same to rounding.
    gelu = activation("gelu")
    divided = activation(lambda h: gelu(h) / skip)
    q, before = np.array([1.3]), np.array([0.4])
    grown = [
        tangent_growth(ResNetSpec(act, depth=1, sigma_w=1.1, skip=a), q, before, 0.4, 1.0)
        for act, a in ((gelu, skip), (divided, 1.0))
    ]
    np.testing.assert_allclose(*grown, rtol=1e-6)  # the derivative of a callable is numerical
    assert not np.allclose(grown[0], np.eye(2), rtol=0.1)


def test_a_network_without_a_mean_has_a_smaller_outlier_and_with_signs_none():
    def predicted(**switches):
        return predict_outliers(ResNetSpec("relu", depth=50, **switches))

    assert predicted().max() > 12
    assert 0 < predicted(centre=True).max() < 6.5
    assert predicted(signs=True).size == 0
