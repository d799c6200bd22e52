import math

import pytest
import torch

from isometry.nn.linting.held import held
from isometry.nn.linting.statistics import (
    is_orthogonal,
    rank_one_share,
    repeated_rows,
    summarise,
)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_moments_are_those_of_torch():
    x = 3 + 2 * drawn(300, 200)
    found = summarise(held(x))
    assert found.mean == pytest.approx(float(x.mean()), rel=1e-4)
    assert found.std == pytest.approx(float(x.std()), rel=1e-4)
    assert found.largest == float(x.abs().max())
    assert found.kurtosis == pytest.approx(3, abs=5 * math.sqrt(24 / found.sampled))


def test_the_standard_error_is_that_of_many_draws():
    logs = [math.log(summarise(held(drawn(40, 30, seed=s))).std) for s in range(200)]
    spread = math.sqrt(sum(v * v for v in logs) / len(logs))
    assert spread == pytest.approx(summarise(held(drawn(40, 30))).standard_error, rel=0.25)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (drawn(100, 100), "normal"),
        (torch.rand(100, 100, generator=torch.Generator().manual_seed(0)) - 0.5, "uniform"),
        (drawn(100, 100).sign(), "signs"),
        (drawn(400, 100)[drawn(400, 100).abs() < 2][:30000], "truncated"),
        (drawn(100, 100) ** 3, "other"),
    ],
    ids=["normal", "uniform", "signs", "truncated", "other"],
)
def test_a_distribution_is_called_by_its_name(entries, expected):
    assert summarise(held(entries)).shape_of_entries == expected


def test_extreme_values_overflow_nothing():
    assert summarise(held(torch.full((2, 2), 1e30))).rms == pytest.approx(1e30, rel=1e-5)
    assert summarise(held(torch.tensor([1.0, math.inf]))).finite is False
    assert summarise(held(torch.full((3, 3), 0.5))).constant


def test_equal_rows_are_counted_and_constant_ones_are_not():
    x = drawn(60, 12)
    assert repeated_rows(held(x)) is None
    x[30:40] = x[:10]
    found = repeated_rows(held(x))
    assert (found.rows, found.distinct) == (60, 50)
    assert torch.equal(x[found.pair[0]], x[found.pair[1]])
    flat = drawn(60, 12)
    flat[3:6] = 0.0
    assert repeated_rows(held(flat)) is None


def test_one_dyad_holds_all_of_a_rank_one_matrix_and_little_of_a_random_one():
    assert rank_one_share(held(torch.outer(drawn(30), drawn(20)))) == pytest.approx(1, abs=1e-5)
    assert rank_one_share(held(drawn(60, 60))) < 0.2


def test_orthogonal_rows_are_told_from_random_ones():
    assert is_orthogonal(held(3 * torch.linalg.qr(drawn(20, 20))[0]))
    assert not is_orthogonal(held(drawn(20, 20)))


def test_the_mean_of_tiny_entries_is_in_their_own_unit():
    x = 1e-20 * (3 + 2 * drawn(300, 200))
    assert summarise(held(x)).mean == pytest.approx(3e-20, rel=0.02)


def test_a_sample_meets_every_column():
    x = torch.arange(1.0, 65).expand(1024, 64)  # four times as many entries as are sampled
    found = summarise(held(x.contiguous()))
    assert (found.levels, found.sampled) == (64, 2**14)
