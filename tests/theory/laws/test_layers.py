import numpy as np
import pytest

from isometry.theory.laws.layers import Layers


def layers(*rows, weights=(0.5, 0.5), counts=None, skip2=1.0):
    d = np.array(rows, dtype=float)
    shares = np.broadcast_to(np.array(weights), d.shape).copy()
    return Layers(d, shares, np.ones(len(d)) if counts is None else np.array(counts), skip2)


def test_the_real_solution_satisfies_the_layers_equation():
    group = layers([0.2, 1.5], [0.0, 3.0], skip2=0.7)
    u = np.array([1e-6, 0.1, 0.5, 0.999])
    E = group.solve_real(u)
    H = (group.weights * group.d / (E[..., None] - u[:, None, None] * group.d)).sum(axis=2)
    z = E + 0.7 / (1 - H)
    np.testing.assert_allclose(z * (1 + u[:, None] * H), u[:, None] * E, rtol=1e-9)  # (30)
    assert (E < 0).all()


def test_the_mass_at_zero_is_that_of_the_dead_units_without_a_skip():
    assert layers([0.0, 1.0], skip2=0.0).atom == pytest.approx(0.5)
    assert layers([0.0, 1.0], skip2=1.0).atom == 0


def test_the_slope_is_the_derivative_of_log_z():
    group = layers([0.2, 1.5], [0.1, 3.0], skip2=0.7)
    u = np.array([0.4, 0.4 + 1e-6])
    total, slope, gap, _ = group.linearise(u, group.solve_real(u))
    assert np.abs(gap).max() < 1e-9
    assert (total[1] - total[0]) / 1e-6 == pytest.approx(slope[0], rel=1e-4)


def test_more_dead_units_than_half_leave_an_atom_at_the_skip():
    assert layers([0.0, 1.0], weights=(0.7, 0.3), skip2=0.25).atoms()[1] == pytest.approx(0.4)
    two = layers([0.0, 1.0], weights=(0.9, 0.1), counts=[2.0], skip2=0.25)
    assert two.atoms()[0] == pytest.approx(0.25**2)
    assert two.atoms()[1] == pytest.approx(0.6)
    assert layers([0.0, 1.0], weights=(0.4, 0.6)).atoms()[0].size == 0


@pytest.mark.parametrize(
    ("means", "counts", "skip2", "expected"),
    [
        ([0.5], [4.0], 1.0, (0.0, 1)),
        ([1.0], [1.0], 1.0, (1 / 3, 2)),  # critical: the density of log lam goes like lam^(2/3)
        ([1.0, 2.0], [1.0, 2.0], 1.0, (1 / 7, 2)),
        ([2.0], [3.0], 1.0, (1 / 4, 1)),
        ([1.0], [3.0], 0.0, (1 / 4, 1)),
    ],
)
def test_the_power_of_a_hard_edge_counts_the_layers_that_reach_zero(means, counts, skip2, expected):
    group = layers(*[[mean, mean] for mean in means], counts=counts, skip2=skip2)
    assert group.decay() == pytest.approx(expected)  # (33)
