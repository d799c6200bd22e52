import math

import numpy as np
import pytest

from isometry.errors import ConvergenceError
from isometry.theory.laws.edges import Gap, beside, edge
from isometry.theory.laws.factors import Factors
from isometry.theory.laws.layers import Layers
from isometry.theory.prediction import finite_depth_law
from isometry.theory.propagation import ResNetSpec


def layers(*rows, weights=(0.5, 0.5), counts=None, skip2=1.0):
    d = np.array(rows, dtype=float)
    shares = np.broadcast_to(np.array(weights), d.shape).copy()
    return Layers(d, shares, np.ones(len(d)) if counts is None else np.array(counts), skip2)


MARCHENKO_PASTUR = layers([1.0, 1.0], skip2=0.0)


def upper(product):
    start, E = product.start_above()
    return math.exp(edge(product, Gap(1 + math.exp(start), E), -1).place)


def lower(product):
    start, E = product.start_below()
    return math.exp(edge(product, Gap(product.floor - math.exp(start), E), 1).place)


def test_the_edges_of_one_layer_without_a_skip_are_known():
    assert upper(MARCHENKO_PASTUR) == pytest.approx(4.0, rel=1e-9)
    # a quarter of dead units: lam / variance in (1 -+ sqrt(3/4))^2
    dead = layers([0.0, 1.0], weights=(0.25, 0.75), skip2=0.0)
    assert upper(dead) == pytest.approx((1 + math.sqrt(0.75)) ** 2, rel=1e-8)
    assert lower(dead) == pytest.approx((1 - math.sqrt(0.75)) ** 2, rel=1e-8)


def test_equal_layers_count_as_often_as_they_occur():
    one = layers([0.1, 0.3], counts=[3.0])
    three = layers(*[[0.1, 0.3]] * 3)
    assert upper(one) == pytest.approx(upper(three), rel=1e-12)
    assert lower(one) == pytest.approx(lower(three), rel=1e-12)
    assert one.log_mean() == pytest.approx(3 * math.log(1.2))


def test_an_edge_behind_an_atom_is_found():
    # Two factors with an atom at 1 below everything else: the continuous part starts above it.
    t, ones = np.array([[1.0, 3.0, 6.0]]), np.ones(1)
    low_rank = Factors(t, np.array([[0.8, 0.1, 0.1]]), 2 * ones, ones, ones, ones)
    assert 1.0 < lower(low_rank) < 3.0


def test_a_step_onto_another_branch_is_not_taken():
    # Gauss nodes of hard swish's slopes: from below a step of twice the last met another solution.
    d, weights = [0.0, 0.07, 0.2, 0.9, 2.2], [0.02, 0.28, 0.4, 0.2, 0.1]
    hard = Layers(np.array([d]), np.array([weights]), np.ones(1), 1.0)
    assert lower(hard) < hard.mean[0] < upper(hard)
    spec = finite_depth_law(ResNetSpec("hardswish", depth=1))
    assert spec.support()[0] == pytest.approx(0.046, abs=0.002)


@pytest.mark.parametrize("towards", [-1, 1])
def test_the_continuous_part_starts_at_an_atom_that_just_forms(towards):
    half = layers([0.0, 1.0])
    gap = beside(half, 0, 1)  # the gap is above the place
    found = edge(half, gap, towards)
    assert (found.order == -1) == (towards == -1)
    # u^2 E and lam to second order in 1 / u: the gap ends at a^2 + about d^2 / 108
    assert found.place == pytest.approx(0.0 if towards == -1 else 1 / 108, abs=2e-4)


def test_a_search_that_never_turns_is_an_error():
    # One factor alone: its atoms are the law, and there is no continuous part.
    t, ones = np.array([[1.0, 3.0]]), np.ones(1)
    alone = Factors(t, np.array([[0.5, 0.5]]), ones, ones, ones, 0 * ones)
    with pytest.raises(ConvergenceError, match="was not found"):
        upper(alone)
