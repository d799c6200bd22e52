import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import cases_calls
from isometry import ConvergenceError


def faults(which, first, last):
    run = subprocess.run(
        [sys.executable, cases_calls.__file__, which, str(first), str(last)],
        capture_output=True,
        text=True,
        check=False,
        cwd=pathlib.Path(__file__).parent,
    )
    return (run.stdout or run.stderr).strip()


def test_a_thousand_calls_end_in_numbers_or_in_a_sentence():
    assert faults("any", 0, 1000) == "{}"


def test_laws_of_any_few_layers_are_right_or_refused():
    assert faults("finite", 0, 12) == "{}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_calls_end_in_numbers_or_in_a_sentence():
    assert faults("any", 1000, 101_000) == "{}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_laws_of_many_few_layers_are_right_or_refused():
    assert faults("finite", 12, 400) == "{}"


@pytest.mark.parametrize("seed", [48, 49, 61, 64, 189])
def test_a_law_of_extreme_layers_is_right_or_refused(seed):
    # A skip whose square is 0, a support narrower than float64, layers beyond its range.
    assert faults("finite", seed, seed + 1) == "{}"


@pytest.mark.parametrize("answer", [math.nan, [0.5, math.inf], np.array([math.nan]), "one", None])
def test_a_wrong_answer_is_seen(answer):
    assert cases_calls.flaw("cdf", answer)
    assert not cases_calls.flaw("logpdf", -math.inf)


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("unsupported operand"), ValueError("`c` is 1;\nexpected 2")]
)
def test_an_internal_error_is_seen(error):
    assert cases_calls.complaint(error)
    assert not cases_calls.complaint(TypeError("`c` is 'x'; expected a number."))
    assert not cases_calls.complaint(ConvergenceError("An edge was not found."))
