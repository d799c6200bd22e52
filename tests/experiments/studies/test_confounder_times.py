import math

import numpy as np
import pytest

from isometry.experiments.studies.confounder_times import (
    bootstrap,
    log_spread,
    mean_log_times,
)


def test_the_spread_is_the_deviation_of_the_log_of_the_times():
    table = {"a": {0: math.e, 1: math.e}, "b": {0: math.e**3, 1: math.e**3}}
    assert log_spread(table, censored=100) == pytest.approx(math.sqrt(2))
    assert log_spread({"a": {0: math.e}, "b": {0: None}}, censored=math.e**3) == pytest.approx(
        math.sqrt(2)
    )


def test_the_interval_contains_the_ratio_and_narrows_with_agreeing_seeds():
    def table(spread, noise):
        rng = np.random.default_rng(0)
        return {
            name: {s: math.exp(4 + spread * k + noise * rng.standard_normal()) for s in range(5)}
            for k, name in enumerate("abcd")
        }

    def width(noise):
        low, high = bootstrap(
            table(0.2, noise), table(0.5, noise), censored=1e9, rng=np.random.default_rng(1),
            draws=200,
        )  # fmt: skip
        assert low <= 0.4 + 3 * noise
        assert high >= 0.4 - 3 * noise
        return high - low

    assert width(0.001) < width(0.1) / 5


def test_the_mean_is_of_the_logarithms_and_a_time_below_one_step_counts_as_one():
    table = {"a": {0: 1.0, 1: 100.0}, "b": {0: 0.0, 1: None}}
    assert mean_log_times(table, censored=10) == {
        "a": pytest.approx(math.log(10)), "b": pytest.approx(math.log(10) / 2),
    }  # fmt: skip
