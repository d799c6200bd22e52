import math
from dataclasses import replace

import numpy as np
import pytest

from isometry.theory.activations.lookup import activation
from isometry.theory.outliers import outliers_of, refined, roots, wide_outliers
from isometry.theory.overlaps import Entries, wide_entries, wide_overlaps
from isometry.theory.prediction import predict_outliers
from isometry.theory.propagation import ResNetSpec, propagate


def network(spec, x, *, seed):
    """The entries of one network's forward pass and its Jacobian's singular values, descending."""
    rng = np.random.default_rng(seed)
    act, width, rows = activation(spec.activation), len(x), []
    signal = propagate(spec, m1=x.mean(), m2=np.mean(x * x))
    J = np.eye(width)
    for layer in range(spec.depth):
        W = rng.standard_normal((width, width)) * spec.sigma_w / math.sqrt(width * spec.depth)
        k = W @ x
        h = k + spec.sigma_b * rng.standard_normal(width)
        s = math.sqrt(signal.q[layer]) if spec.unit else 1.0
        sign = rng.choice([-1.0, 1.0], width) if spec.signs else 1.0
        d = sign * act.dphi(h / s) / spec.skip
        rows.append((d * k, x, spec.sigma_w**2 / spec.depth * d * d))
        J = J + d[:, None] * (W @ J)
        mean = signal.mean[layer] if spec.centre else 0.0
        x = sign * (s * act.phi(h / s) - mean) + spec.skip * x
    entries = Entries(*(np.array(part) for part in zip(*rows, strict=True)))
    return entries, np.linalg.svd(J, compute_uv=False) * abs(spec.skip) ** spec.depth


def _input(m1, m2, width=300):
    noise = np.random.default_rng(3).standard_normal(width)
    return m1 + math.sqrt(m2 - m1**2) * (noise - noise.mean()) / noise.std()


SPECS = [
    (ResNetSpec("relu", depth=20), 0.0, 1.0),
    (ResNetSpec("leaky_relu(0.1)", depth=20, sigma_w=1.2), 0.0, 1.0),
    (ResNetSpec("softplus", depth=20, sigma_b=0.3), 0.5, 1.25),
    (ResNetSpec("relu", depth=20, skip=0.9), 0.0, 1.0),
    (ResNetSpec("gelu", depth=20, sigma_w=1.4, sigma_b=0.22), 0.0, 1.0),
    (ResNetSpec("relu", depth=20, sigma_w=1.4, centre=True, unit=True), 0.3, 1.0),
]


@pytest.mark.parametrize(("spec", "m1", "m2"), SPECS)
def test_a_network_s_own_forward_pass_tells_its_outlier(spec, m1, m2):
    scale = spec.depth * math.log(abs(spec.skip))
    off = []
    for seed in range(4):
        entries, s = network(spec, _input(m1, m2), seed=seed)
        (log_s,) = outliers_of(entries.overlaps(), entries)
        off.append(log_s + scale - math.log(s[0]))
    # Twenty such networks of width 300 had a mean of 0 to 0.01 and a deviation of 0.01 to 0.03.
    assert abs(np.mean(off)) < 0.03
    assert np.abs(off).max() < 0.08
    # the mean of D^2 in place of each entry's own is off by more, and always below
    entries, s = network(spec, _input(m1, m2), seed=0)
    (root,) = roots(entries.overlaps())
    assert refined(root, entries) > 0


@pytest.mark.parametrize(("spec", "m1", "m2"), SPECS)
def test_the_wide_limit_is_the_mean_of_networks_and_not_that_of_another_weight(spec, m1, m2):
    largest = [network(spec, _input(m1, m2), seed=seed)[1][0] for seed in range(12)]
    logs = np.log(largest)
    error = logs.std(ddof=1) / math.sqrt(len(logs)) + 2.0 / 300  # and of the finite width
    (s,) = predict_outliers(spec, m1=m1, m2=m2)
    assert abs(math.log(s) - logs.mean()) < 4 * error
    other = replace(spec, sigma_w=1.25 * spec.sigma_w)
    assert abs(math.log(predict_outliers(other, m1=m1, m2=m2)[-1]) - logs.mean()) > 4 * error


@pytest.mark.parametrize("name", ["linear", "tanh", "hardtanh", "erf", "sin", "softsign"])
@pytest.mark.parametrize("sigma_b", [0.0, 0.5])
def test_odd_activations_have_no_outlier(name, sigma_b):
    spec = ResNetSpec(name, depth=12, sigma_b=sigma_b)
    assert predict_outliers(spec, m1=0.3, m2=1.0).shape == (0,)


def test_alternating_skip_keeps_the_mean_from_growing():
    spec = ResNetSpec("softplus", depth=40, sigma_b=0.3, skip=-1.0)
    assert not len(predict_outliers(spec, m1=1.0, m2=2.0))
    entries, s = network(spec, _input(1.0, 2.0), seed=4)
    assert outliers_of(entries.overlaps(), entries) == []
    assert s[0] < 1.02 * s[1]


def test_skip_rescales_layer_by_layer():
    # a x + phi(a W x) = a (x + phi(W x)) for ReLU: every layer is a times that at unit skip.
    plain = predict_outliers(ResNetSpec("relu", depth=40))
    scaled = predict_outliers(ResNetSpec("relu", depth=40, sigma_w=0.8, skip=0.8))
    np.testing.assert_allclose(scaled, 0.8**40 * plain, rtol=1e-5)


def test_outlier_grows_with_depth_like_the_exponential_of_its_root():
    s = [predict_outliers(ResNetSpec("relu", depth=L))[-1] for L in (100, 400)]
    # exp(sigma_w sqrt(L / 2 pi)) up to a power of L; theory.md saw 42 and 2239 at N = 300.
    growth = math.log(s[1] / s[0]) / (math.sqrt(400) - math.sqrt(100))
    assert growth == pytest.approx(1 / math.sqrt(2 * math.pi), rel=0.02)


def test_groups_of_layers_extrapolate_to_single_ones(monkeypatch):
    spec = ResNetSpec("gelu", depth=90, sigma_w=2.0)
    signal = propagate(spec)
    (whole,) = wide_outliers(spec, signal, m1=0.0, m2=1.0)
    monkeypatch.setattr("isometry.theory.outliers._LADDER", (20, 40, 60))
    (grouped,) = wide_outliers(spec, signal, m1=0.0, m2=1.0)
    assert grouped == pytest.approx(whole, abs=2e-3)
    monkeypatch.setattr("isometry.theory.outliers._outliers_of", lambda of, _: [of.alpha.size])
    assert wide_outliers(spec, signal, m1=0.0, m2=1.0) != [60.0]  # and not the finest groups' own


def test_vanishing_input_without_bias_has_no_direction_of_its_own():
    assert predict_outliers(ResNetSpec("relu", depth=50), m1=0.0, m2=0.0).shape == (0,)


def test_without_weights_there_is_no_bulk_and_no_outlier():
    assert predict_outliers(ResNetSpec("relu", depth=5, sigma_w=0.0)).shape == (0,)


def test_a_root_that_no_entry_agrees_with_is_gone():
    spec = ResNetSpec("relu", depth=10)
    signal = propagate(spec)
    (root,) = roots(wide_overlaps(spec, signal, m1=0.0, m2=1.0))
    other = ResNetSpec("tanh", depth=10)
    entries = wide_entries(other, propagate(other), m1=0.0, m2=1.0, count=500, seed=0)
    assert refined(root, entries) is None


@pytest.mark.parametrize("centre", [False, True])
def test_random_signs_leave_no_outlier(centre):
    spec = ResNetSpec("relu", depth=30, signs=True, centre=centre)
    assert predict_outliers(spec).size == 0
    entries, s = network(spec, _input(0.0, 1.0), seed=0)
    assert outliers_of(entries.overlaps(), entries) == []
    assert s[0] < 1.05 * s[1]


def test_a_network_without_a_mean_has_a_smaller_outlier():
    whole, centred = (
        predict_outliers(ResNetSpec("relu", depth=50, centre=centre)).max()
        for centre in (False, True)
    )
    assert centred < 0.5 * whole


@pytest.mark.parametrize(
    ("name", "options", "m2"),
    [
        ("hardswish", {"depth": 1, "sigma_w": 2.88, "skip": 0.9}, 9.2e-5),
        ("softshrink", {"depth": 3, "sigma_w": 0.304, "skip": -1.0}, 2.8),
        ("prelu", {"depth": 1, "sigma_w": 1.69, "sigma_b": 0.158, "skip": -1.0}, 5e-324),
    ],
)
def test_layers_without_a_chart_on_one_side_have_no_outlier_there(name, options, m2):
    """Noise that reaches 0, entries that no one noise stands for, an input of next to nothing."""
    assert predict_outliers(ResNetSpec(name, **options), m2=m2).tolist() == []
