import numpy as np
import pytest

from isometry.theory.laws.piecewise import CHUNK, Side, evaluate, fit, fit_nodes, in_chunks


def test_polynomials_of_degree_four_are_reproduced():
    nodes = fit_nodes(7)
    assert nodes.min() > 0
    assert nodes.max() < 1
    table = fit(3 - nodes + 2 * nodes**4)
    v = np.linspace(0, 1, 101)
    np.testing.assert_allclose(evaluate(table, v), 3 - v + 2 * v**4, rtol=1e-14)


def test_smooth_functions_converge_with_the_fifth_power_of_the_pieces():
    v = np.linspace(0, 1, 997)
    errors = [
        np.abs(evaluate(fit(np.exp(3 * fit_nodes(n))), v) - np.exp(3 * v)).max() for n in (8, 16)
    ]
    assert errors[0] / errors[1] == pytest.approx(32, rel=0.3)


@pytest.mark.parametrize("size", [0, 1, CHUNK, 2 * CHUNK + 3])
def test_chunks_change_neither_values_nor_shape(size):
    values = np.arange(float(size)).reshape(1, size)
    np.testing.assert_array_equal(in_chunks(lambda x: x * x + 1, values), values**2 + 1)


@pytest.mark.parametrize(("power", "order"), [(3, 1), (1, 1), (2, 2)])
def test_a_side_holds_the_mass_beyond_and_its_inverse(power, order):
    # density / v^order = 2 + v, |dt/dv| = 5 v^(power - order - 1): mass 5 int (2 + x) x^(power - 1)
    side = Side.build(2 + fit_nodes(64), jacobian=5.0, power=power, order=order)
    v = np.linspace(0.01, 1, 50)
    mass = 5 * (2 * v**power / power + v ** (power + 1) / (power + 1))
    np.testing.assert_allclose(evaluate(side.tail, v) * v**power, mass, rtol=1e-12)
    assert side.mass == pytest.approx(mass[-1], rel=1e-13)
    x = (mass / side.mass) ** (1 / power)
    np.testing.assert_allclose(side.coordinate(x), v, rtol=1e-11)


def test_a_known_mass_takes_the_rounding_out():
    side = Side.build(np.ones(fit_nodes(8).size) * 3.0001, jacobian=1.0, power=3, mass=1.0)
    assert side.mass == pytest.approx(1.0, rel=4e-16)
