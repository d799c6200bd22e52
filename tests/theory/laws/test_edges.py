import math

import numpy as np
import pytest

from isometry.errors import ConvergenceError
from isometry.theory.laws.edges import Gap, edge
from isometry.theory.laws.factors import Factors
from isometry.theory.laws.layers import Layers


def layers(*rows, weights=(0.5, 0.5), counts=None, skip2=1.0):
    d = np.array(rows, dtype=float)
    shares = np.broadcast_to(np.array(weights), d.shape).copy()
    return Layers(d, shares, np.ones(len(d)) if counts is None else np.array(counts), skip2)


MARCHENKO_PASTUR = layers([1.0, 1.0], skip2=0.0)


def upper(product):
    start, E = product.start_above()
    return math.exp(edge(product, Gap(1 + math.exp(start), E), -1))


def lower(product):
    start, E = product.start_below()
    return math.exp(edge(product, Gap(product.floor - math.exp(start), E), 1))


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


def test_a_search_that_never_turns_is_an_error():
    # One factor alone: its atoms are the law, and there is no continuous part.
    t, ones = np.array([[1.0, 3.0]]), np.ones(1)
    alone = Factors(t, np.array([[0.5, 0.5]]), ones, ones, ones, 0 * ones)
    with pytest.raises(ConvergenceError, match="was not found"):
        upper(alone)
