import numpy as np
import pytest

from isometry.theory.laws.condensed import ALL, condensed


def many(size, seed=0):
    values = np.sort(np.random.default_rng(seed).gamma(8.0, 1 / 8, size))
    return values, np.full(size, 1 / size)


def test_few_values_stay_as_they_are():
    rules = [(many(ALL // 2), 1), (many(ALL // 2, 1), 1)]
    assert condensed(rules) == rules


def test_many_values_become_few_with_the_same_first_moments():
    rules = [(many(5000), 1), (many(5000, 1), 3)]
    for ((values, weights), count), (given, same) in zip(rules, condensed(rules), strict=True):
        assert count == same
        assert given[0].size < 64
        for order in range(4):
            kept = given[1] @ given[0] ** order
            assert kept == pytest.approx(weights @ values**order, rel=1e-12)
        assert given[1] @ given[0] ** 6 != pytest.approx(weights @ values**6, rel=1e-12)
