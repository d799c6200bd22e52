"""The mathematics of the page, in JavaScript, equal to Python's on a grid."""

import math
import warnings

import numpy as np
import pytest
from scipy import special

import isometry as iso
from cases_web import answers, ask
from isometry.theory.hermite import expand

CS = [0.0, 1e-12, 1e-4, 0.05, 0.3, 1.0, 2.5, 7.0, 40.0, 300.0]
QS = [0.0, 1e-4, 0.02, 0.3, 1.0, 4.0, 60.0, 1e4]
LEVELS = [0.0, 1e-6, 0.01, 0.2, 0.5, 0.77, 0.999, 1.0]
PARAMETERS = [
    ("celu", {"alpha": 0.4}),
    ("elu", {"alpha": 1.7}),
    ("gelu", {"approximate": "tanh"}),
    ("hardshrink", {"lambd": 0.2}),
    ("hardtanh", {"min_val": -0.5, "max_val": 2.0}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("leaky_relu", {"negative_slope": 1.0}),
    ("prelu", {"weight": -0.2}),
    ("rrelu", {"lower": 0.1, "upper": 0.2}),
    ("softplus", {"beta": 5.0, "threshold": 30.0}),
    ("softshrink", {"lambd": 0.0}),
    ("threshold", {"threshold": 0.3, "value": 0.1}),
]
FORMULAS = {
    "h * tanh(h)": lambda h: h * np.tanh(h),
    "tanh(20*h)": lambda h: np.tanh(20 * h),
    "max(0, h)^2 / (1 + abs(h))": lambda h: np.maximum(0, h) ** 2 / (1 + np.abs(h)),
    "-h^2 * exp(-h**2)": lambda h: -(h**2) * np.exp(-(h**2)),
    "relu(h - 0.3) - 0.2*min(h, -1)": lambda h: np.maximum(h - 0.3, 0) - 0.2 * np.minimum(h, -1),
    "erf(x) + sin(3*x)/4": lambda h: special.erf(h) + np.sin(3 * h) / 4,
    "sigmoid(2*h)*h - 2^-h^2": lambda h: special.expit(2 * h) * h - 2.0 ** (-(h**2)),
    "sqrt(1 + h^2) - 1": lambda h: np.sqrt(1 + h**2) - 1,
    "log1p(exp(-abs(h))) + atan(h)": lambda h: np.log1p(np.exp(-np.abs(h))) + np.arctan(h),
}
SPECS = [
    {},
    {"depth": 7, "sigmaW": 1.6},
    {"depth": 200, "sigmaW": 2.2, "sigmaB": 0.1},
    {"depth": 60, "sigmaW": 0.7, "skip": 0.97, "m1": 0.4, "m2": 1.3},
    {"depth": 60, "centre": True},
    {"depth": 60, "signs": True, "sigmaB": 0.3},
    {"depth": 60, "unit": True, "sigmaW": 1.3},
]
USUAL = {
    "depth": 100, "sigmaW": 1.0, "sigmaB": 0.0, "skip": 1.0, "m1": 0.0, "m2": 1.0,
    "centre": False, "signs": False, "unit": False,
}  # fmt: skip


def close(found, expected, rtol=1e-6, atol=0.0):
    found = [math.nan if x is None else x for x in np.ravel(found).tolist()]
    np.testing.assert_allclose(found, np.ravel(expected), rtol=rtol, atol=atol)


def python_spec(act, spec):
    names = {"sigmaW": "sigma_w", "sigmaB": "sigma_b"}
    own = {names.get(key, key): value for key, value in spec.items() if key not in ("m1", "m2")}
    return iso.ResNetSpec(act, **own), {"m1": spec["m1"], "m2": spec["m2"]}


def named(name, parameters=()):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", iso.TheoryWarning)  # of jumps
        return iso.activation(name, **dict(parameters))


def law_question(c, scale):
    law = iso.UniversalLaw(c, scale=scale)
    low, high = law.log_support()
    share = np.array([-0.1, 1e-9, 1e-3, 0.1, 0.31, 0.5, 0.66, 0.93, 1 - 1e-5, 1.2])
    places = (low + (high - low) * share).tolist()
    return {"kind": "law", "c": c, "logScale": math.log(scale), "logLam": places, "p": LEVELS}


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_the_law_is_pythons(scale):
    questions = [law_question(c, scale) for c in CS[1:-2]]
    for question, found in zip(questions, answers(questions), strict=True):
        law = iso.UniversalLaw(question["c"], scale=scale)
        lam = np.exp(question["logLam"])
        width = law.log_support()[1] - math.log(scale)
        close(found["support"], law.log_support(), rtol=1e-12)
        close(found["condition"], law.condition_number(), rtol=1e-9)
        close([found["mean"], found["variance"]], [law.mean(), law.variance()], rtol=1e-12)
        close(found["logVariance"], law.log_variance())
        # beyond an edge, and next to it: where log lam itself is rounded
        near = 1e-6 / width
        close(found["density"], law.pdf(lam) * lam, atol=near)
        close(found["pdf"] * lam, law.pdf(lam) * lam, atol=near)
        s = np.sqrt(lam)
        close(found["singular"] * s, law.singular_values().pdf(s) * s, atol=2 * near)
        close(found["cdf"], law.cdf(lam), atol=1e-9)
        close(found["quantiles"], law.log_icdf(LEVELS), atol=1e-6 * width)


def test_a_law_too_wide_for_float64_has_pythons_logarithms():
    (found,) = answers([law_question(300.0, 1.0)])
    law = iso.UniversalLaw(300.0)
    close(found["support"], law.log_support(), rtol=1e-12)
    close(found["quantiles"], law.log_icdf(LEVELS), rtol=1e-6, atol=1e-6)


def test_the_curve_of_the_picture_has_mass_one_and_reaches_the_edges():
    for c, found in zip(CS[1:], answers([law_question(c, 1.0) for c in CS[1:]]), strict=True):
        x, y = found["curve"]["logLam"], found["curve"]["density"]
        close([x[0], x[-1]], iso.UniversalLaw(c).log_support(), rtol=1e-12)
        assert np.all(np.diff(x) > 0)
        assert abs(np.trapezoid(y, x) - 1) < 0.01


def test_a_law_of_another_c_is_not_pythons():
    (found,) = answers([law_question(1.00001, 1.0)])
    with pytest.raises(AssertionError):
        close(found["support"], iso.UniversalLaw(1.0).log_support())


def test_no_spread_is_one_value():
    (found,) = answers([law_question(0.0, 2.0) | {"logLam": [0.5, 1.0]}])
    assert found["cdf"] == [0.0, 1.0]
    assert found["condition"] == 1.0
    close(found["quantiles"], np.full(len(LEVELS), math.log(2.0)))


def test_c_of_a_condition_number_is_pythons():
    kappas = [1.0, 1 + 1e-9, 1.5, 21.0, 1e5, 1e300]
    (found,) = answers([{"kind": "cumulant", "condition": kappas}])
    close(found, [iso.cumulant_from_condition_number(x) for x in kappas], rtol=1e-12)


def moments(act, q):
    """The four averages and E phi' h, of which Python has no public function."""
    found = iso.gaussian_moments(act, q)
    cross = iso.gaussian_mean(lambda h: act.dphi(h) * h, q, breakpoints=act.breakpoints)
    return [found.mean, found.square, found.slope, found.slope_square, cross]


def test_averages_of_every_named_activation_are_pythons():
    cases = [(name, {}) for name in iso.activation_names()] + PARAMETERS
    questions = [{"kind": "moments", "name": n, "parameters": p, "q": QS} for n, p in cases]
    for (name, parameters), found in zip(cases, answers(questions), strict=True):
        act = named(name, parameters)
        for q, row in zip(QS, found, strict=True):
            expected = moments(act, q)
            size = max(expected[1], 1e-300) ** 0.5
            close(row[:4], expected[:4], rtol=1e-9, atol=1e-12 * size)
            slope = max(expected[3] * q, 1e-300) ** 0.5
            close(row[4], expected[4], rtol=1e-6, atol=1e-9 * max(size, slope))


def test_averages_of_formulas_are_pythons():
    qs = [0.02, 0.5, 1.0, 3.0]
    questions = [{"kind": "moments", "formula": text, "q": qs} for text in FORMULAS]
    for (text, phi), found in zip(FORMULAS.items(), answers(questions), strict=True):
        act = iso.activation(phi)
        for q, row in zip(qs, found, strict=True):
            expected = iso.gaussian_moments(act, q)
            size = expected.square**0.5
            close(row[:2], [expected.mean, expected.square], atol=1e-9 * size)
            slopes = [expected.slope, expected.slope_square]
            close(row[2:4], slopes, atol=1e-9 * expected.slope_square**0.5), text


def test_the_signal_is_pythons_in_every_layer():
    names = ["gelu", "tanh", "sigmoid", "selu", "sin"]
    cases = [(name, USUAL | spec) for name in names for spec in SPECS]
    questions = [{"kind": "network", "name": name, "spec": spec} for name, spec in cases]
    for (name, spec), found in zip(cases, answers(questions), strict=True):
        network, inputs = python_spec(name, spec)
        signal = iso.propagate(network, **inputs)
        close(found["c"], signal.c, rtol=1e-9)
        for key in ("q", "m2", "chi"):
            close(found[key], getattr(signal, key), rtol=1e-9)
        close(found["m1"], signal.m1, rtol=1e-9, atol=1e-12)


def test_the_networks_of_formulas_are_pythons():
    spec = USUAL | {"depth": 5}
    questions = [{"kind": "network", "formula": text, "spec": spec} for text in FORMULAS]
    for phi, found in zip(FORMULAS.values(), answers(questions), strict=True):
        network, inputs = python_spec(phi, spec)
        close(found["c"], iso.effective_cumulant(network, **inputs))


@pytest.mark.parametrize("c", [0.3, 3.0])
def test_sigma_w_of_a_target_is_pythons(c):
    names = ["gelu", "relu", "hardsigmoid", "elu"]
    specs = [USUAL, USUAL | {"depth": 20, "sigmaB": 0.2, "skip": 0.95}]
    cases = [(name, spec) for name in names for spec in specs]
    questions = [{"kind": "sigma", "name": n, "spec": s, "c": c} for n, s in cases]
    for (name, spec), found in zip(cases, answers(questions), strict=True):
        own = {"depth": spec["depth"], "sigma_b": spec["sigmaB"], "skip": spec["skip"]}
        close(found, iso.solve_sigma_w(name, c=c, **own), rtol=1e-8)


@pytest.mark.parametrize(
    ("name", "c", "word"), [("sign", 1.0, "slope is 0"), ("relu", 1e8, "signal overflows")]
)
def test_a_target_out_of_reach_is_said_with_the_range(name, c, word):
    (found,) = ask([{"kind": "sigma", "name": name, "spec": USUAL, "c": c}])
    assert word in found["error"]


def test_an_overflow_names_the_layer():
    spec = USUAL | {"sigmaW": 1e9}
    (found,) = ask([{"kind": "network", "name": "relu", "spec": spec}])
    assert found["type"] == "OverflowError"
    with pytest.raises(OverflowError) as error:
        iso.propagate(iso.ResNetSpec("relu", depth=100, sigma_w=1e9))
    assert found["error"].split(";")[0].split(" in ")[1] in str(error.value)


def test_hermite_shares_are_pythons():
    cases = [("relu", 1.0, 0.0), ("tanh", 0.96, 1.35), ("gelu", 2.0, -0.5), ("softplus", 0.3, 0.1)]
    questions = [{"kind": "shares", "name": n, "scale": b, "shift": d} for n, b, d in cases]
    for (name, scale, shift), found in zip(cases, answers(questions), strict=True):
        expected = expand(iso.activation(name), scale, shift, 8)
        close(found["shares"], expected.shares, rtol=1e-9, atol=1e-12)
        close(found["energy"], expected.energy, rtol=1e-9)
        close(found["slopeSquare"], expected.slope_square, rtol=1e-9)
        close(found["fourthMoment"], expected.fourth_moment, rtol=1e-9)


def test_the_distance_of_a_spectrum_to_a_law_is_pythons():
    rng = np.random.default_rng(0)
    values = np.append(iso.UniversalLaw(1.0).sample(60, rng=rng), 900.0)
    weights = rng.random(61)
    weights /= weights.sum()
    for c in (0.8, 1.0):
        question = {
            "kind": "distance", "values": values.tolist(), "weights": weights.tolist(),
            "unresolved": [0, 0], "c": c, "logScale": 0.1,
        }  # fmt: skip
        (found,) = answers([question])
        law = iso.UniversalLaw(c, scale=math.exp(0.1))
        close(found, iso.compare(iso.Spectrum(values, weights), law).ks_all, rtol=1e-9)


@pytest.mark.parametrize("view", ["log", "s"])
def test_a_histogram_has_the_weight_of_what_is_not_zero(view):
    values = [0.0, 0.0, *np.geomspace(0.1, 10.0, 98).tolist()]
    question = {"kind": "histogram", "values": values, "weights": [0.01] * 100, "view": view}
    (found,) = answers([question])
    steps = np.diff(found["edges"]) * (2 if view == "log" else 1)
    assert math.isclose(np.dot(steps, found["heights"]), 0.98)
