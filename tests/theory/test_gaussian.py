import math

import numpy as np
import pytest
from mpmath import mp
from scipy import special

from cases_activations import averages, sine_averages, table
from isometry.errors import AccuracyWarning
from isometry.theory.activations.lookup import activation, activation_names
from isometry.theory.gaussian import gaussian_mean, gaussian_moments, gaussian_nodes

TABLE = table()
JUMPS = pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
FIELDS = ("mean", "square", "slope", "slope_square")

# Each named activation is checked at three variances in the fast suite, at all of them in the slow.
FAST = (1e-8, 1.0, 1e8)
FULL = (*(10.0**k for k in range(-8, 9)), 0.3, 37.0)


def check_against_mpmath(text, q):
    phi, dphi, kinks = TABLE[text]
    got = gaussian_moments(text, q)
    # Gauss-Legendre panels do not follow 10^4 oscillations: there the closed form is the oracle.
    sine = text == "sin" and q > 100
    wanted = sine_averages(q) if sine else averages(phi, dphi, kinks, q)
    rms = {"mean": mp.sqrt(wanted[1]), "slope": mp.sqrt(wanted[3])}
    for field, value in zip(FIELDS, wanted, strict=True):
        # The oracle stops at 14 standard deviations (1e-43 of the mass); an average of both signs
        # that cancels to less than 1e-5 of the root mean square is only good to 1e-15 of that.
        slack = 1e-40 + 1e-15 * float(rms.get(field, 0))
        error = abs(mp.mpf(getattr(got, field)) - value)
        assert error <= 1e-10 * abs(value) + slack, (field, getattr(got, field), value)


@JUMPS
@pytest.mark.parametrize(("text", "q"), [(t, FAST[j % 3]) for j, t in enumerate(TABLE)])
def test_named_moments_agree_with_mpmath(text, q):
    check_against_mpmath(text, q)


@pytest.mark.slow
@pytest.mark.timeout(900)
@JUMPS
@pytest.mark.parametrize("text", TABLE)
def test_named_moments_agree_with_mpmath_at_every_variance(text):
    for q in FULL:
        check_against_mpmath(text, q)


@pytest.mark.parametrize("text", ["silu", "mish", "gelu(approximate='tanh')", "elu", "hardswish"])
def test_a_mean_that_nearly_cancels_keeps_its_digits(text):
    phi, dphi, kinks = TABLE[text]
    wanted = averages(phi, dphi, kinks, 1e-8)[0]
    assert abs(gaussian_moments(text, 1e-8).mean - wanted) <= 1e-10 * abs(wanted)


def test_moments_obey_steins_lemma():
    act = activation("mish")
    for q in (1e-4, 0.7, 30.0):
        h, weights = gaussian_nodes(q, act)
        assert weights @ (h * act(h)) == pytest.approx(q * gaussian_moments(act, q).slope)


@JUMPS
@pytest.mark.parametrize("name", activation_names())
@pytest.mark.parametrize("q", [5e-324, 1e-300, 1e154, 1e300, 1.7e308])
def test_variances_at_the_ends_of_the_number_range_give_finite_moments(name, q):
    got = gaussian_moments(name, q)
    assert np.isfinite([getattr(got, field) for field in FIELDS]).all()
    assert got.square >= got.mean**2 * (1 - 1e-12)


@pytest.mark.parametrize("text", ["tanh", "erf", "sin", "softsign", "tanhshrink", "linear"])
def test_the_mean_of_an_odd_activation_is_exactly_zero(text):
    for q in (1e-8, 1.0, 1e8):
        assert gaussian_moments(text, q).mean == 0.0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("relu", (0.0, 0.0, 0.5, 0.5)),
        ("leaky_relu(0.5)", (0.0, 0.0, 0.75, 0.625)),
        ("tanh", (0.0, 0.0, 1.0, 1.0)),
        ("sigmoid", (0.5, 0.25, 0.25, 0.0625)),
        ("gelu", (0.0, 0.0, 0.5, 0.25)),
    ],
)
def test_zero_variance_counts_both_sides_of_zero_half(text, wanted):
    got = gaussian_moments(text, 0.0)
    assert (got.mean, got.square, got.slope, got.slope_square) == pytest.approx(wanted, abs=1e-300)
    near = gaussian_moments(text, 1e-30)
    assert (near.slope, near.slope_square) == pytest.approx(wanted[2:])


@JUMPS
@pytest.mark.parametrize("lambd", [6.0, 11.0, 25.0, 37.0])
def test_kinks_far_out_in_the_tail_keep_their_relative_accuracy(lambd):
    with mp.workdps(60):
        tail, density = mp.erfc(lambd / mp.sqrt(2)) / 2, mp.npdf(lambd)
        square = 2 * ((lambd**2 + 1) * tail - lambd * density)
    for act in (f"softshrink({lambd})", activation(lambda h: h - np.clip(h, -lambd, lambd))):
        got = gaussian_moments(act, 1.0)
        assert got.square == pytest.approx(float(square), rel=1e-10, abs=0)
        assert got.slope == pytest.approx(float(2 * tail), rel=1e-10, abs=0)


@pytest.mark.parametrize("text", ["tanh", "gelu", "relu6"])
def test_arrays_agree_with_numbers_and_keep_their_shape(text):
    q = np.array([[1.0, 0.0, 2.5], [1e-6, 1.0, 1e6]])
    got = gaussian_moments(text, q)
    for field in FIELDS:
        each = [[getattr(gaussian_moments(text, v), field) for v in row] for row in q.tolist()]
        np.testing.assert_array_equal(getattr(got, field), each)


def test_numbers_in_give_floats_out_and_empty_gives_empty():
    assert isinstance(gaussian_moments("gelu", 1).slope, float)
    assert isinstance(gaussian_moments("gelu", np.float64(1)).mean, float)
    assert gaussian_moments("gelu", np.empty((0, 3))).slope.shape == (0, 3)
    assert set(gaussian_moments("relu", 2.0).to_dict()) == {"schema", *FIELDS}


BAD_Q = [
    (-1.0, ValueError, r"`q` is -1.0; expected a finite number >= 0. q is a variance"),
    (math.nan, ValueError, r"`q` is nan; expected a finite number"),
    (math.inf, ValueError, r"`q` is inf; expected a finite number"),
    (np.array([1.0, -2.0]), ValueError, r"`q` contains -2; expected numbers >= 0"),
    (np.array([1.0, math.nan]), ValueError, r"`q` contains NaN"),
    (np.array([1.0, math.inf]), ValueError, r"`q` contains inf; expected finite numbers"),
    ("1", TypeError, r"`q` has dtype"),
    (None, TypeError, r"`q` has dtype object"),
    ([[1.0], [1.0, 2.0]], TypeError, r"`q` is ragged"),
]


@pytest.mark.parametrize(("q", "kind", "match"), BAD_Q)
def test_a_bad_variance_is_refused(q, kind, match):
    with pytest.raises(kind, match=match):
        gaussian_moments("tanh", q)


@pytest.mark.parametrize("q", [-1.0, math.nan])
def test_a_bad_variance_is_refused_by_nodes_and_mean(q):
    with pytest.raises(ValueError, match="`q`"):
        gaussian_nodes(q)
    with pytest.raises(ValueError, match="`q`"):
        gaussian_mean(np.tanh, q)


def test_a_callable_that_overflows_under_the_gaussian_is_refused():
    act = activation(np.exp)
    # E e^h = e^(q/2), E e^(2h) = e^(2q): the peak of the latter is at 2 sqrt(q) deviations
    assert gaussian_moments(act, 40.0).mean == pytest.approx(math.exp(20.0), rel=1e-10)
    assert gaussian_moments(act, 100.0 / 3).square == pytest.approx(math.exp(200 / 3), rel=1e-10)
    with pytest.raises(ValueError, match=r"`exp` or its square or derivative is not finite at h ="):
        gaussian_moments(act, 1e6)


def test_noise_in_a_callable_gives_an_accuracy_warning_with_an_estimate():
    single = activation(lambda h: np.tanh(h.astype(np.float32)))
    with pytest.warns(
        AccuracyWarning, match=r"at q = 1 has an estimated relative error of \de-0\d"
    ):
        got = gaussian_moments(single, 1.0)
    assert got.slope_square == pytest.approx(gaussian_moments("tanh", 1.0).slope_square, rel=1e-5)


@JUMPS
def test_an_oscillation_too_fast_to_resolve_gives_an_accuracy_warning():
    with pytest.warns(AccuracyWarning, match="estimated relative error"):
        gaussian_moments(activation(np.floor), 1e4)


@pytest.mark.parametrize("q", [1e-6, 1.0, 1e4])
def test_gaussian_mean_finds_unlisted_kinks_and_jumps(q):
    sigma = math.sqrt(q)
    wanted = special.ndtr(-0.3 / sigma)
    # 1e-12: a jump is bisected down to rounding, then its cell is dropped
    got = gaussian_mean(lambda h: (h > 0.3).astype(float), q)
    assert got == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    listed = gaussian_mean(lambda h: (h > 0.3).astype(float), q, breakpoints=(0.3,))
    assert listed == pytest.approx(wanted, rel=1e-12, abs=1e-300)


def test_gaussian_mean_takes_arrays_and_zero_variance():
    q = np.array([[0.0, 1.0], [4.0, 9.0]])
    np.testing.assert_allclose(gaussian_mean(np.square, q), q, rtol=1e-13)
    assert gaussian_mean(np.cos, 0.0) == 1.0


def test_gaussian_mean_refuses_functions_that_are_not_elementwise_or_not_finite():
    with pytest.raises(ValueError, match=r"`f` returns shape \(\) for an input of shape"):
        gaussian_mean(np.sum, 1.0)
    with pytest.raises(ValueError, match="`f` or its square or derivative is not finite"):
        gaussian_mean(np.sqrt, 1.0)


def test_gaussian_mean_of_white_noise_warns():
    rng = np.random.default_rng(0)
    with pytest.warns(AccuracyWarning, match="`f`: E f at q = 1 has an estimated"):
        gaussian_mean(lambda h: rng.normal(size=h.shape) + 1.0, 1.0)


@pytest.mark.parametrize("q", [0.0, 1e-8, 0.37, 1e8])
def test_nodes_are_a_probability_distribution_of_the_right_variance(q):
    h, weights = gaussian_nodes(q, (-0.2, 3.0))
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    assert (np.diff(h) >= 0).all()
    assert weights @ h**2 == pytest.approx(q, rel=1e-13, abs=1e-300)


def test_nodes_respect_the_breakpoints_of_an_activation():
    act = activation("hardtanh")
    h, weights = gaussian_nodes(2.0, act)
    assert weights @ act.dphi(h) == pytest.approx(special.erf(0.5), rel=1e-13)
    given, _ = gaussian_nodes(2.0, act.breakpoints)
    np.testing.assert_array_equal(h, given)


@pytest.mark.parametrize(
    ("name", "q"), [("leaky_relu(1e200)", 0.0), ("leaky_relu(1e200)", 1.0), ("celu(1e308)", 1.0)]
)
def test_averages_beyond_float64_are_refused(name, q):
    with pytest.raises(ValueError, match="beyond float64's range at q = "):
        gaussian_moments(name, q)


@pytest.mark.parametrize(
    ("f", "breakpoints", "kind", "match"),
    [
        ("relu", (), TypeError, "`f` is 'relu'; expected a function"),
        (np.square, None, TypeError, "`breakpoints` has dtype object"),
        (np.square, "ab", TypeError, "`breakpoints` has dtype"),
        (np.square, [math.nan], ValueError, "`breakpoints` contains NaN"),
        (np.square, [math.inf], ValueError, "`breakpoints` is .inf.; expected a list of finite"),
        (lambda h: h * 1j, (), TypeError, "`f` returns dtype complex128; expected real numbers"),
        (lambda h: h.astype(str), (), TypeError, "`f` returns dtype <U32; expected real numbers"),
    ],
)
def test_what_cannot_be_averaged_is_refused_in_a_sentence(f, breakpoints, kind, match):
    with pytest.raises(kind, match=match):
        gaussian_mean(f, 1.0, breakpoints=breakpoints)
