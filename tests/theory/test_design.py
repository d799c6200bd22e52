import math

import mpmath
import numpy as np
import pytest

from isometry.theory.design import _bracket, cumulant_from_condition_number, gain, solve_sigma_w
from isometry.theory.laws import UniversalLaw
from isometry.theory.propagation import ResNetSpec, effective_cumulant

SETTINGS = [
    ("linear", {}),
    ("relu", {"sigma_b": 0.2}),
    ("tanh", {"sigma_b": 0.5}),
    ("gelu", {"skip": 0.9}),
    ("sigmoid", {"m1": 0.3, "m2": 0.5}),
    ("selu", {}),
    ("hardtanh", {"sigma_b": 2.0}),
    ("hardsigmoid", {}),
    ("sin", {}),
]


@pytest.mark.parametrize(("name", "setting"), SETTINGS, ids=[name for name, _ in SETTINGS])
@pytest.mark.parametrize("c", [1e-6, 1.0, 9.0])
def test_sigma_w_gives_the_wanted_c(name, setting, c):
    moments = {key: value for key, value in setting.items() if key in {"m1", "m2"}}
    shape = {key: value for key, value in setting.items() if key not in moments}
    sigma_w = solve_sigma_w(name, depth=20, c=c, **setting)
    spec = ResNetSpec(name, depth=20, sigma_w=sigma_w, **shape)
    assert effective_cumulant(spec, **moments) == pytest.approx(c, rel=1e-10)


@pytest.mark.parametrize(
    ("name", "square"), [("linear", 1.0), ("relu", 2.0), ("leaky_relu(0.1)", 2 / 1.01)]
)
def test_sigma_w_of_piecewise_linear_activations_has_a_closed_form(name, square):
    assert solve_sigma_w(name, depth=100, c=3.0) == pytest.approx(math.sqrt(3.0 * square))


def test_zero_c_needs_zero_sigma_w():
    assert solve_sigma_w("gelu", depth=100, c=0.0) == 0.0


def test_a_network_without_skip_is_solved_too():
    # He's initialisation at depth L: sigma_w^2 = 2 L makes c = L.
    assert solve_sigma_w("relu", depth=8, c=8.0, skip=0.0) == pytest.approx(4.0)


def test_the_smallest_of_several_solutions_is_bracketed():
    def wavy(sigma_w):  # falls between 3 and 9
        return sigma_w * math.exp(1.2 * math.sin(math.log(sigma_w) + 1.4))

    low, high = _bracket(wavy, 5.6, ResNetSpec("linear", depth=1))
    grid = np.geomspace(1e-3, 1e3, 20_000)
    first = grid[np.argmax(np.array([wavy(s) for s in grid]) >= 5.6)]
    assert low < first <= high
    assert min(wavy(s) for s in np.geomspace(first, 30 * first, 1000)) < 5.6  # it comes back


def test_saturation_limits_what_can_be_reached():
    with pytest.raises(ValueError, match=r"`c` is 2; expected a value in \[0, 1\].*no sigma_w up"):
        _bracket(lambda sigma_w: 1 - math.exp(-sigma_w), 2.0, ResNetSpec("linear", depth=1))


@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
def test_flat_activation_reaches_no_c():
    with pytest.raises(ValueError, match=r"`c` is 1; expected a value in \[0, 0\].*slope is 0"):
        solve_sigma_w("sign", depth=10, c=1.0)


def test_overflow_limits_what_can_be_reached():
    with pytest.raises(ValueError, match=r"`c` is 1e\+12; expected a value in \[0, .*overflows"):
        solve_sigma_w("relu", depth=100, c=1e12)
    # Just below the limit that the message states there is a solution.
    sigma_w = solve_sigma_w("relu", depth=100, c=900.0)
    assert sigma_w == pytest.approx(math.sqrt(1800.0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"c": -0.3}, ValueError, "`c` is -0.3; expected a finite number >= 0"),
        ({"c": math.nan}, ValueError, "`c` is nan"),
        ({"c": "1"}, TypeError, "`c` is '1'"),
        ({"depth": 0}, ValueError, "`depth` is 0"),
        ({"m1": 2.0}, ValueError, "`m2` is 1.0"),
        ({"sigma_b": -1.0}, ValueError, "`sigma_b` is -1.0"),
        ({"activation": "gleu"}, ValueError, "Did you mean 'gelu'"),
    ],
)
def test_bad_problem_is_refused(arguments, error, message):
    given = {"activation": "gelu", "depth": 5, **arguments}
    with pytest.raises(error, match=message):
        solve_sigma_w(given.pop("activation"), **given)


@pytest.mark.parametrize(
    "kappa",
    [1 + 2**-52, 1 + 1e-9, 1.001, 2.0, 21.094423247747, 1e6, 1e100, np.finfo(float).max],
)
def test_condition_number_is_inverted_to_rounding(kappa):
    c = cumulant_from_condition_number(kappa)
    with mpmath.workdps(60):
        exact = mpmath.mpf(c)
        r = mpmath.sqrt(exact**2 + 2 * exact)
        back = mpmath.log(1 + exact + r) + r
        # log kappa ~ sqrt(8 c) near 1 and 2 c far away: relative errors carry over.
        assert abs(back / mpmath.log(mpmath.mpf(kappa)) - 1) < 1e-15


@pytest.mark.parametrize("c", [1e-8, 0.25, 1.0, 12.0, 50.0])
def test_condition_number_of_the_law_is_inverted(c):
    kappa = UniversalLaw(c=c).condition_number()
    # kappa - 1 ~ sqrt(8 c) = 3e-4 at c = 1e-8: rounding of kappa is 1e-12 relative there.
    assert cumulant_from_condition_number(kappa) == pytest.approx(c, rel=1e-11)


def test_perfect_conditioning_is_zero_c():
    assert cumulant_from_condition_number(1.0) == 0.0


@pytest.mark.parametrize(
    ("kappa", "error"), [(0.5, ValueError), (math.inf, ValueError), ("2", TypeError)]
)
def test_impossible_condition_number_is_refused(kappa, error):
    with pytest.raises(error, match="`kappa` is"):
        cumulant_from_condition_number(kappa)


@pytest.mark.parametrize(
    ("name", "q", "expected"),
    [
        ("linear", 4.0, 0.5),
        ("relu", 1.0, math.sqrt(2.0)),
        ("leaky_relu(0.1)", 1.0, math.sqrt(2.0 / 1.01)),
        ("sign", 3.0, 1.0),
        ("tanh", 1.0, 1.5925374197228312),
    ],
)
@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
def test_gain_restores_the_mean_square(name, q, expected):
    assert gain(name, q=q) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("name", "q", "message"),
    [
        ("relu", 0.0, r"E phi\(h\)\^2 = 0 at q = 0"),
        ("relu", -1.0, "`q` is -1.0; .* variance"),
        ("rellu", 1.0, "Did you mean 'relu'"),
    ],
)
def test_impossible_gain_is_refused(name, q, message):
    with pytest.raises(ValueError, match=message):
        gain(name, q=q)


def test_a_c_whose_square_root_leaves_float64_is_refused():
    with pytest.raises(ValueError, match="expected 0 or a number >= 1e-300"):
        solve_sigma_w("softshrink", depth=1, c=1e-320)


def test_a_tiny_c_of_an_activation_that_is_flat_at_zero_is_solved():
    sigma_w = solve_sigma_w("softshrink", depth=1, c=1e-200)
    # c = sigma_w^2 P(|h| > 1/2) with h ~ N(0, sigma_w^2)
    assert sigma_w**2 * math.erfc(0.5 / (sigma_w * math.sqrt(2))) == pytest.approx(1e-200, rel=1e-8)
