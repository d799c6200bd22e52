import functools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isometry.errors import TheoryWarning
from isometry.theory.activations.lookup import activation

JUMPS = pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")


@pytest.mark.parametrize(
    ("spec", "parameters", "same"),
    [
        ("swish", {}, "silu"),
        ("Identity", {}, "linear"),
        ("LeakyReLU(0.2)", {}, "leaky_relu(0.2)"),
        ("relu_", {}, "relu"),
        (" elu ( 0.5 ) ", {}, "elu(alpha=0.5)"),
        ("elu", {"alpha": 0.5}, "elu(0.5)"),
        ("threshold", {}, "threshold(0, 0)"),
        (functools.partial(F.leaky_relu, negative_slope=0.2), {}, "leaky_relu(0.2)"),
        (functools.partial(F.elu, alpha=0.5, inplace=True), {}, "elu(0.5)"),
        (F.softplus, {"beta": 2}, "softplus(2)"),
        (torch.special.expit, {}, "sigmoid"),
        (np.tanh, {}, "tanh"),
    ],
)
def test_spellings_of_one_activation_are_equal(spec, parameters, same):
    assert activation(spec, **parameters) == activation(same)


@pytest.mark.parametrize("text", ["hardshrink", "threshold(0, 1)", "sign", "softplus(threshold=1)"])
def test_a_jump_is_announced_when_the_activation_is_made(text):
    with pytest.warns(
        TheoryWarning, match=r"jumps at h = .*; its derivative is taken almost every"
    ):
        activation(text)


def test_an_activation_without_a_jump_is_silent():
    assert activation("threshold(0.5, 0.5)").jumps == ()
    assert activation("softplus").jumps == ()
    assert activation("hardshrink", lambd=0).jumps == ()


BAD = [
    ("reul", {}, ValueError, r"`spec` is 'reul'; expected a name .* Did you mean 'relu'\?"),
    ("qqqqqq", {}, ValueError, "`spec` is 'qqqqqq'; expected a name"),
    ("1+1", {}, ValueError, r"`spec` is '1\+1'; expected a name such as"),
    ("elu(x)", {}, ValueError, "expected literal arguments"),
    ("elu(alpha=", {}, ValueError, "expected a name such as"),
    ("elu(1, 2)", {}, TypeError, "`elu`: too many positional arguments; its parameters are: alpha"),
    ("relu(alpha=1)", {}, TypeError, "`relu`: .*; its parameters are: none"),
    ("elu", {"alpha": math.nan}, ValueError, "`alpha` is nan; expected a finite number"),
    ("elu('a')", {}, TypeError, "`alpha` is 'a'; expected a finite number"),
    ("celu(0)", {}, ValueError, "`alpha` is 0; expected a finite number > 0"),
    ("softplus(beta=0)", {}, ValueError, "`beta` is 0; expected a finite number > 0"),
    ("hardtanh(1, -1)", {}, ValueError, "`min_val` is 1; expected a number < max_val = -1"),
    ("rrelu(0.5, 0.1)", {}, ValueError, "`lower` is 0.5; expected a number <= upper = 0.1"),
    ("hardshrink(-1)", {}, ValueError, "`lambd` is -1; expected a finite number >= 0"),
    ("gelu(approximate='x')", {}, ValueError, "`approximate` is 'x'; expected 'none' or 'tanh'"),
    ("softmax", {}, NotImplementedError, "`spec` is 'softmax', which mixes the entries"),
    ("relu", {"breakpoints": (1,)}, ValueError, r"`breakpoints` is \(1,\); expected none"),
    (lambda h: h, {"breakpoints": (math.nan,)}, ValueError, "`breakpoints` contains NaN"),
    (lambda h: h, {"breakpoints": math.inf}, ValueError, "`breakpoints` contains inf"),
    (lambda h: h, {"breakpoints": "0"}, TypeError, "`breakpoints` has dtype"),
    (lambda h: h, {"alpha": 1}, TypeError, "expected none for the callable '<lambda>'"),
    (3, {}, TypeError, "`spec` is 3; expected a name, a callable, a torch module"),
    (None, {}, TypeError, "`spec` is None; expected a name"),
    (np.sqrt, {}, ValueError, "`spec` 'sqrt' returns nan at h = -8; expected finite numbers"),
    (np.sum, {}, ValueError, r"`spec` 'sum' returns shape \(\) for an input of shape \(321,\)"),
    (lambda h: h + 1j, {}, TypeError, "returns dtype complex128; expected real numbers"),
    (np.sort, {}, NotImplementedError, "gives one h different values at different places"),
    (np.random.default_rng(0).poisson, {}, TypeError, "'poisson' fails on a float64 array"),
    (lambda h: np.ones(h.size) / h.size, {}, NotImplementedError, "mixes the entries"),
    (lambda x, y: x, {}, TypeError, r"fails on a float64 array \(TypeError: .*expected an elem"),
    (F.softmax, {}, NotImplementedError, "`spec` is 'softmax', which mixes"),
    (nn.Softmax(0), {}, NotImplementedError, "`spec` is 'Softmax', which mixes"),
    (nn.GLU(), {}, NotImplementedError, "`spec` is 'GLU', which mixes"),
    (nn.Linear(3, 3), {}, TypeError, "'Linear' fails on a float64 array"),
    (
        nn.PReLU(4),
        {},
        NotImplementedError,
        r"`spec` is PReLU\(4\); .* expected a PReLU with a sing",
    ),
    (lambda x: torch.softmax(x, 0), {}, NotImplementedError, "gives one h|mixes the entries"),
]


@pytest.mark.parametrize(("spec", "keywords", "kind", "match"), BAD)
def test_a_bad_activation_is_refused_in_one_sentence(spec, keywords, kind, match):
    with pytest.raises(kind, match=match) as caught:
        activation(spec, **keywords)
    assert "\n" not in str(caught.value)


def test_a_random_activation_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(NotImplementedError, match="deterministic"):
        activation(lambda h: h + rng.normal(size=h.shape))


def test_parameters_for_a_finished_activation_are_refused():
    with pytest.raises(TypeError, match="expected none for an Activation"):
        activation(activation("elu"), alpha=2.0)
