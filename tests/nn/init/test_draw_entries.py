import itertools

import numpy as np
import pytest
from scipy import stats

from isometry.nn.init.draw_entries import key_of, normals, runs

KEY = key_of(0, "weight")


def drawn(start, stop, key=KEY):
    return np.concatenate([*normals(key, start, stop), np.empty(0, np.float32)])


# 2^15 words a chunk, two numbers a word, four words a counter: cuts on and beside all of these.
@pytest.mark.parametrize("start", [0, 1, 2, 7, 8, 9, 65535, 65536, 65537, 100_001])
@pytest.mark.parametrize("count", [1, 2, 13, 70_000])
def test_a_number_does_not_depend_on_where_the_drawing_begins(start, count):
    whole = drawn(0, 200_000)
    assert np.array_equal(drawn(start, start + count), whole[start : start + count])


def test_an_empty_run_is_empty():
    assert len(drawn(5, 5)) == 0


# Kolmogorov and Smirnov with a million numbers sees a distribution function 0.002 off.
def test_the_numbers_are_standard_normal():
    numbers = drawn(0, 1_000_000).astype(float)
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    assert abs(numbers.mean()) < 5e-3
    assert abs(numbers.std() - 1) < 5 / np.sqrt(2e6)
    assert abs(stats.kurtosis(numbers)) < 5 * np.sqrt(24 / 1e6)
    assert stats.kstest(1.01 * numbers, "norm").pvalue < 1e-3


def test_the_tails_are_as_heavy_as_they_should_be():
    numbers = drawn(0, 4_000_000)
    for level in (3.0, 4.0):
        expected = len(numbers) * 2 * stats.norm.sf(level)
        assert abs(np.sum(np.abs(numbers) > level) - expected) < 5 * np.sqrt(expected)


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8, 64])
def test_numbers_side_by_side_are_not_correlated(lag):
    numbers = drawn(0, 500_000).astype(float)
    for power in (1, 2):
        one = numbers**power - np.mean(numbers**power)
        correlation = np.mean(one[lag:] * one[:-lag]) / np.mean(one**2)
        assert abs(correlation) < 5 / np.sqrt(len(numbers))


def test_names_and_seeds_have_sequences_of_their_own():
    keys = [key_of(seed, name) for seed in (0, 1) for name in ("a", "b")]
    for one, other in itertools.combinations(keys, 2):
        a, b = drawn(0, 20_000, one).astype(float), drawn(0, 20_000, other).astype(float)
        assert abs(np.mean(a * b)) < 5 / np.sqrt(20_000)


def test_runs_cover_a_part_in_its_order():
    shape = (4, 5, 6)
    numbers = np.arange(120).reshape(shape)
    choices = [None, np.array([0, 1]), np.array([1, 3])]
    for indices in itertools.product(choices, repeat=3):
        grids = [np.arange(n) if o is None else o for n, o in zip(shape, indices, strict=True)]
        expected = numbers[np.ix_(*grids)].flatten()
        got = [n for start, stop in runs(shape, indices) for n in range(start, stop)]
        assert np.array_equal(got, expected)


def test_a_part_without_entries_has_no_runs():
    assert list(runs((4, 5), [np.array([], int), None])) == []


def test_a_number_is_one_run():
    assert list(runs((), [])) == [(0, 1)]
