from dataclasses import replace

import numpy as np
import pytest

from isometry.theory.activations.lookup import activation
from isometry.theory.overlaps import Entries, membership, wide_entries, wide_overlaps
from isometry.theory.propagation import ResNetSpec, propagate

M1, M2 = 0.4, 1.3
WIDTH = 700
SPECS = [
    ResNetSpec("gelu", depth=6, sigma_w=2.0, sigma_b=0.3),
    ResNetSpec("relu", depth=6, sigma_w=1.4),
    ResNetSpec("softplus", depth=6, sigma_w=1.0, sigma_b=0.5, skip=-0.8),
    ResNetSpec("relu", depth=6, sigma_w=1.4, centre=True, unit=True),
    ResNetSpec("gelu", depth=6, sigma_w=2.0, signs=True),
    ResNetSpec("relu", depth=6, sigma_w=1.4, signs=True, centre=True),
]


def forward(spec, width, *, seed):
    """One wide forward pass: the entries of a network, weights drawn a row at a time."""
    rng, act = np.random.default_rng(seed), activation(spec.activation)
    noise = rng.standard_normal(width)
    x = M1 + np.sqrt(M2 - M1**2) * (noise - noise.mean()) / noise.std()
    rows, signal = [], propagate(spec, m1=M1, m2=M2)
    for layer in range(spec.depth):
        deviation = spec.sigma_w / np.sqrt(width * spec.depth)
        k = np.array([deviation * rng.standard_normal(width) @ x for _ in range(width)])
        h = k + spec.sigma_b * rng.standard_normal(width)
        s = np.sqrt(signal.q[layer]) if spec.unit else 1.0
        sign = rng.choice([-1.0, 1.0], width) if spec.signs else 1.0
        d = sign * act.dphi(h / s) / spec.skip
        rows.append((d * k, x, spec.sigma_w**2 / spec.depth * d * d))
        mean = signal.mean[layer] if spec.centre else 0.0
        x = sign * (s * act.phi(h / s) - mean) + spec.skip * x
    return Entries(*(np.array(part) for part in zip(*rows, strict=True)))


def gaps(found, seen):
    """Each inner product's distance from the mean of the networks', over its standard error."""
    for name in ("u_u", "u_x", "x_x"):
        each = np.array([getattr(one, name) for one in seen])
        error = each.std(axis=0, ddof=1) / np.sqrt(len(seen))
        scale = 3 / WIDTH * np.abs(each).max()  # the bias of a finite width
        yield name, np.abs(each.mean(axis=0) - getattr(found, name)) / (error + scale)


@pytest.mark.parametrize("spec", SPECS)
def test_inner_products_are_those_of_wide_forward_passes(spec):
    found = wide_overlaps(spec, propagate(spec, m1=M1, m2=M2), m1=M1, m2=M2)
    seen = [forward(spec, WIDTH, seed=seed).overlaps() for seed in range(12)]
    for name, gap in gaps(found, seen):  # Student's t with 11 degrees: 1e-4 beyond 6
        assert gap.max() < 6, name
    np.testing.assert_allclose(np.mean([one.alpha for one in seen], axis=0), found.alpha, rtol=0.03)
    # without what a layer feeds to later inputs, u and x would be independent, and are not
    apart = replace(found, u_x=np.tril(found.u_x) + np.triu(found.u_x - fed(spec), 1))
    assert max(gap.max() for _, gap in gaps(apart, seen)) > 6


def fed(spec):
    """Covariance of u_l and phi(h_l), sampled from the wide limit."""
    signal = propagate(spec, m1=M1, m2=M2)
    drawn = wide_entries(spec, signal, m1=M1, m2=M2, count=50_000, seed=1)
    feed = np.diff(drawn.x, axis=0) + (1 - spec.skip) * drawn.x[:-1]
    u = drawn.u[:-1]
    covariance = (u * feed).mean(axis=1) - u.mean(axis=1) * feed.mean(axis=1)
    return np.tile(np.append(covariance, 0.0)[:, None], spec.depth)


@pytest.mark.parametrize("spec", SPECS)
def test_drawn_entries_have_the_same_inner_products(spec):
    signal = propagate(spec, m1=M1, m2=M2)
    found = wide_overlaps(spec, signal, m1=M1, m2=M2)
    drawn = wide_entries(spec, signal, m1=M1, m2=M2, count=200_000, seed=0).overlaps()
    u, x = np.sqrt(np.diag(found.u_u)), np.sqrt(np.diag(found.x_x))
    for name, scale in (("u_u", (u, u)), ("u_x", (u, x)), ("x_x", (x, x))):
        gap = (getattr(drawn, name) - getattr(found, name)) / np.outer(*scale)
        assert np.abs(gap).max() < 0.02


def test_an_input_of_zeros_has_no_direction():
    spec = ResNetSpec("relu", depth=3)
    found = wide_overlaps(spec, propagate(spec, m1=0.0, m2=0.0), m1=0.0, m2=0.0)
    assert not found.u_u.any()
    assert not found.x_x.any()


def test_groups_are_consecutive_and_as_equal_as_can_be():
    add = membership(7, 3)
    assert add.sum(axis=0).tolist() == [1.0] * 7
    assert sorted(add.sum(axis=1).tolist()) == [2.0, 2.0, 3.0]
    assert (np.diff(add.argmax(axis=0)) >= 0).all()


def test_merging_entries_and_merging_their_inner_products_agree():
    entries = forward(SPECS[0], 50, seed=2)
    one, other = entries.overlaps().merged(3), entries.merged(3).overlaps()
    for name in ("u_u", "u_x", "x_x", "alpha"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-10, atol=1e-14)
