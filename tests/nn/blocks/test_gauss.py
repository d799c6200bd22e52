import numpy as np
import pytest

from isometry.nn.blocks.gauss import GaussRule, bulk_points, total_spread
from isometry.theory.laws.product import ProductLaw
from isometry.theory.laws.universal import UniversalLaw


def values(spread, seed=0, count=400):
    """Squared singular values of 1 + X."""
    noise = np.random.default_rng(seed).standard_normal((count, count)) * (spread / count) ** 0.5
    return np.linalg.svd(np.eye(count) + noise, compute_uv=False) ** 2


def rule(lam, nodes, zeros=0.0):
    return GaussRule.of(lam, np.full(len(lam), 1 / len(lam)), nodes, zeros)


def test_a_rule_has_twice_as_many_moments_as_nodes():
    lam = values(0.2)
    nodes, weights = rule(lam, 5).solved
    for order in range(10):
        assert weights @ nodes**order == pytest.approx((lam**order).mean(), rel=1e-9)
    assert weights @ nodes**10 != pytest.approx((lam**10).mean(), rel=1e-6)


def test_zeros_stay_apart():
    nodes, weights = rule(values(0.2), 5, zeros=0.25).solved
    assert nodes[0] == 0.0
    assert weights[0] == 0.25
    assert weights.sum() == pytest.approx(1.0)


def test_few_values_are_their_own_rule():
    found = rule(np.array([1.0, 2.0, 4.0]), 8)
    assert found.nodes == 3
    np.testing.assert_allclose(found.solved[0], [1.0, 2.0, 4.0])
    np.testing.assert_allclose(found.solved[1], 1 / 3)


def test_nothing_has_a_rule_of_zeros():
    found = GaussRule.of(np.empty(0), np.empty(0), 4)
    assert found.solved[0].tolist() == [0.0]
    assert found.centre == (0.0, 0.0)


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_the_error_of_a_rule_is_that_of_the_law_with_it(nodes):
    lam = [values(0.15, seed) for seed in range(6)]
    good, coarse = ([rule(t, n) for t in lam] for n in (12, nodes))
    known = ProductLaw([r.solved for r in good])
    at = known.icdf(np.linspace(0.02, 0.98, 25))
    shift = np.abs(ProductLaw([r.solved for r in coarse]).cdf(at) - known.cdf(at)).max()
    finer = [rule(t, nodes + 1) for t in lam]
    error = sum(r.error(bulk_points(total_spread(finer))) for r in finer)
    # every block's worst level counts, and the last node of the finer rule: never too small
    assert shift / 2 < error < 5 * shift


def test_light_ends_are_put_together_at_their_mean():
    lam = np.concatenate([[0.01], values(0.1), [30.0]])
    before, after = rule(lam, 24), rule(lam, 24).lumped()
    (_, weights), (nodes, lumped) = before.solved, after.solved
    assert weights.min() < 5e-3
    assert after.nodes < before.nodes
    assert np.sort(lumped)[2:].min() >= 2.5e-3
    assert lumped @ nodes == pytest.approx(lam.mean(), rel=1e-9)
    assert lumped.sum() == pytest.approx(1.0)


def test_the_points_lie_on_the_bulk_of_the_law_with_that_width():
    w = bulk_points(2.0)
    law = UniversalLaw(1.0)
    lam = law.icdf([0.02, 0.25, 0.5, 0.75, 0.98])
    np.testing.assert_allclose(-w.imag / np.pi / lam, law.pdf(lam), rtol=1e-6)
    assert len(bulk_points(0.0)) == 0


def test_few_far_values_do_not_make_a_block_wide():
    lam = values(0.1)
    with_spike = np.append(lam, 100.0)
    assert rule(with_spike, 6).centre[1] < 2 * rule(lam, 6).centre[1]
