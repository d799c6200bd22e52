import math

import pytest
from scipy import optimize

from isometry.theory.roots import bracketed_root

CASES = {
    "cubic": (lambda x: x**3 - 2 * x - 5, 2.0, 3.0),
    "exponential": (lambda x: math.exp(-x) - 1e-8, 0.0, 50.0),
    "flat": (lambda x: (x - 1) ** 9, 0.0, 1.7),
    "steep": (lambda x: math.atan(1e6 * (x - 0.123)), -3.0, 5.0),
    "tiny": (lambda x: x * math.sin(x / 2) - 1e-8 * math.cos(x / 2), 0.0, math.pi),
}


@pytest.mark.parametrize("name", CASES)
def test_a_root_is_the_one_scipy_finds(name):
    f, low, high = CASES[name]
    expected = optimize.brentq(f, low, high, xtol=1e-300, rtol=8.9e-16, maxiter=2000)
    # the ninth power is below float64's smallest step within 1e-2 of its root
    tolerance = 2e-2 if name == "flat" else 1e-14
    assert bracketed_root(f, low, high) == pytest.approx(expected, rel=tolerance)
    assert bracketed_root(f, high, low) == pytest.approx(expected, rel=tolerance)


def test_few_evaluations_are_needed():
    calls = []
    bracketed_root(lambda x: calls.append(x) or math.exp(x) - 7, 0.0, 10.0)
    assert len(calls) < 20


def test_a_root_at_an_end_is_returned():
    assert bracketed_root(lambda x: x, 0.0, 1.0) == 0.0


def test_a_bracket_without_a_change_of_sign_is_refused():
    with pytest.raises(ValueError, match="expected opposite signs"):
        bracketed_root(lambda x: x * x + 1, -1.0, 1.0)
