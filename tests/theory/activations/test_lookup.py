import copy
import functools
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cases_activations import table
from isometry.errors import TheoryWarning
from isometry.theory.activations.lookup import Activation, activation, activation_names
from isometry.theory.gaussian import gaussian_moments

JUMPS = pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
FIELDS = ("mean", "square", "slope", "slope_square")

# A name with its parameters, torch's function with the same ones, torch's module if it has one.
TORCH = [
    ("threshold(0.2, -1)", lambda x: F.threshold(x, 0.2, -1), nn.Threshold(0.2, -1)),
    ("relu", F.relu, nn.ReLU()),
    ("hardtanh(-0.3, 2)", lambda x: F.hardtanh(x, -0.3, 2), nn.Hardtanh(-0.3, 2)),
    ("hardswish", F.hardswish, nn.Hardswish()),
    ("relu6", F.relu6, nn.ReLU6()),
    ("elu(alpha=0.5)", lambda x: F.elu(x, 0.5), nn.ELU(0.5)),
    ("selu", F.selu, nn.SELU()),
    ("celu(2)", lambda x: F.celu(x, 2.0), nn.CELU(2.0)),
    ("leaky_relu(0.1)", lambda x: F.leaky_relu(x, 0.1), nn.LeakyReLU(0.1)),
    ("prelu", lambda x: F.prelu(x, torch.tensor([0.25]).double()), nn.PReLU()),
    ("rrelu", F.rrelu, nn.RReLU()),
    ("gelu", F.gelu, nn.GELU()),
    ("gelu(approximate='tanh')", lambda x: F.gelu(x, approximate="tanh"), nn.GELU("tanh")),
    ("logsigmoid", F.logsigmoid, nn.LogSigmoid()),
    ("hardshrink(0.7)", lambda x: F.hardshrink(x, 0.7), nn.Hardshrink(0.7)),
    ("tanhshrink", F.tanhshrink, nn.Tanhshrink()),
    ("softsign", F.softsign, nn.Softsign()),
    ("softplus(2, 3)", lambda x: F.softplus(x, 2, 3), nn.Softplus(2, 3)),
    ("softshrink(0.7)", lambda x: F.softshrink(x, 0.7), nn.Softshrink(0.7)),
    ("tanh", torch.tanh, nn.Tanh()),
    ("sigmoid", torch.sigmoid, nn.Sigmoid()),
    ("hardsigmoid", F.hardsigmoid, nn.Hardsigmoid()),
    ("silu", F.silu, nn.SiLU()),
    ("mish", F.mish, nn.Mish()),
    ("linear", lambda x: x, nn.Identity()),
    ("erf", torch.erf, None),
    ("sin", torch.sin, None),
    ("sign", torch.sign, None),
]
H = np.concatenate([np.linspace(-7.013, 7.021, 401), [-31.0, 24.0, 1e3, -1e3, 1e-7, -1e-9]])


@JUMPS
@pytest.mark.parametrize(("text", "function", "module"), TORCH, ids=[row[0] for row in TORCH])
def test_a_named_activation_and_its_slope_are_those_of_torch(text, function, module):
    act = activation(text)
    x = torch.tensor(H, requires_grad=True)
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    # 1e-14 absolute: torch's tanhshrink and mish lose digits where they cancel, ours do not
    np.testing.assert_allclose(act(H), y.detach().numpy(), rtol=1e-12, atol=1e-14)
    # torch's hard sigmoid has 1/6 in single precision as its slope
    rtol = 4e-8 if text == "hardsigmoid" else 1e-11
    np.testing.assert_allclose(act.dphi(H), slope.numpy(), rtol=rtol, atol=1e-14)
    if module is not None:
        assert activation(module) == act


@JUMPS
@pytest.mark.parametrize("name", activation_names())
def test_torch_functions_are_recognised_by_identity(name):
    function = getattr(F, name, None) or getattr(torch, name, None)
    if name != "linear" and function is not None:
        assert activation(function) == activation(name)


def test_the_names_cover_every_elementwise_activation_of_torch():
    mixing = {"glu", "softmax", "softmin", "log_softmax", "gumbel_softmax"}
    listed = {row[0].partition("(")[0] for row in TORCH}
    assert listed == set(activation_names())
    assert not mixing & set(activation_names())


@JUMPS
@pytest.mark.parametrize("text", table())
def test_breakpoints_symmetry_and_repr_are_right(text):
    act = activation(text)
    for point in act.breakpoints:
        left, right = act.dphi(np.array([point - 1e-9, point + 1e-9]))
        gap = np.diff(act(np.array([point - 1e-12, point + 1e-12])))[0]
        smooth = act.name in ("softsign", "softplus") or (act.name == "elu" and left == 1 - 1e-9)
        assert point in act.jumps or abs(left - right) > 1e-3 or smooth or abs(gap) < 1e-11
    for point in act.jumps:
        assert abs(np.diff(act(np.array([point - 1e-12, point + 1e-12])))[0]) > 0.1
    assert np.array_equal(act(-H), -act(H)) == act.odd
    assert activation(act) is act
    assert eval(repr(act).replace("Activation(", "activation(")) == act


@JUMPS
@pytest.mark.parametrize("text", ["tanh", "elu(0.5)", "hardshrink", "softplus(beta=3)"])
def test_named_activations_survive_pickling(text):
    act = activation(text)
    again = pickle.loads(pickle.dumps(act))
    assert again == act
    assert hash(again) == hash(act)
    np.testing.assert_array_equal(again(H), act(H))


def test_an_activation_made_from_a_picklable_callable_survives_pickling():
    act = activation(shifted_leaky)
    again = pickle.loads(pickle.dumps(act))
    assert again == act
    assert again.breakpoints == act.breakpoints == pytest.approx((0.4,))


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


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.25))

    def forward(self, x):
        return torch.where(x > 0.4, x - 0.4, self.slope * (x - 0.4))


def shifted_leaky(h):
    return np.where(h > 0.4, h - 0.4, 0.25 * (h - 0.4))


# A callable, an equal named activation or NumPy callable, kinks to be found.
CALLABLES = [
    (lambda h: np.tanh(h), "tanh", ()),
    (lambda h: h * (h > 0), "relu", (0.0,)),
    (lambda h: np.maximum(h, 0.1 * h), "leaky_relu(0.1)", (0.0,)),
    (lambda h: np.clip(h, -0.25, 2.0), "hardtanh(-0.25, 2)", (-0.25, 2.0)),
    (lambda h: np.abs(h) - (h < 0) * np.abs(h), "relu", (0.0,)),
    (lambda h: np.where(np.abs(h) > 0.5, h, 0), "hardshrink", (-0.5, 0.5)),
    (lambda h: h / (1 + abs(h)), "softsign", ()),
    (lambda h: h - np.tanh(h), "tanhshrink", ()),
    (math.tanh, "tanh", ()),
    (lambda x: x if x > 0 else 0.1 * x, "leaky_relu(0.1)", (0.0,)),
    (lambda x: torch.tanh(x) * 1.0, "tanh", ()),
    (lambda x: x.clamp(-0.25, 2.0), "hardtanh(-0.25, 2)", (-0.25, 2.0)),
    (torch.Tensor.sigmoid, "sigmoid", ()),
    (nn.Sequential(nn.ReLU()), "relu", (0.0,)),
    (Gated(), shifted_leaky, (0.4,)),
]


@JUMPS
@pytest.mark.parametrize(("spec", "same", "kinks"), CALLABLES)
def test_an_unknown_callable_has_the_moments_of_the_known_one(spec, same, kinks):
    act, known = activation(spec), activation(same)
    assert act.breakpoints == pytest.approx(kinks, abs=1e-9)
    assert act.odd == known.odd
    for q in (1e-2, 1.0, 400.0):
        got, wanted = gaussian_moments(act, q), gaussian_moments(known, q)
        for field in FIELDS:
            value = getattr(wanted, field)
            assert getattr(got, field) == pytest.approx(value, rel=1e-8, abs=1e-300)


@JUMPS
@pytest.mark.parametrize("kink", [1 / 3, -2.7182818, 37.0, -37.123456])
@pytest.mark.parametrize("jump", [False, True])
def test_a_kink_or_jump_anywhere_within_forty_is_found(kink, jump):
    act = activation(lambda h: h + np.where(h > kink, 3.0 if jump else h - kink, 0.0))
    assert act.breakpoints == pytest.approx((kink,), abs=1e-9)
    assert bool(act.jumps) == jump


def test_a_narrow_feature_is_found_and_integrated():
    # width 0.003: the finest promised; E of the bump is width * sqrt(pi) * density(3.3)
    act = activation(lambda h: np.exp(-(((h - 3.3) / 3e-3) ** 2)))
    wanted = 3e-3 * math.sqrt(math.pi) * math.exp(-(3.3**2) / 2) / math.sqrt(2 * math.pi)
    assert gaussian_moments(act, 1.0).mean == pytest.approx(wanted, rel=1e-4)


def test_given_breakpoints_reveal_what_the_scan_cannot_see():
    def spike(h):
        return h + np.where(np.abs(h - 100.0001) < 1e-5, 1.0, 0.0)

    ends = (100.0001 - 1e-5, 100.0001 + 1e-5)
    assert activation(spike).breakpoints == ()
    with pytest.warns(TheoryWarning, match="jumps"):
        act = activation(spike, breakpoints=ends)
    assert act.breakpoints == pytest.approx(ends)
    with pytest.warns(TheoryWarning, match="jumps"):
        assert activation(np.sign, breakpoints=(1.0,)).breakpoints == (0.0, 1.0)


def test_an_unknown_module_is_neither_changed_nor_kept():
    module = Gated().train()
    before = copy.deepcopy(module.state_dict())
    act = activation(module)
    assert module.training
    assert module.slope.dtype == torch.float32
    assert module.slope.grad is None
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    with torch.no_grad():
        module.slope.fill_(9.0)
    assert act(np.array([-0.6])) == pytest.approx(-0.25)


def test_autograds_slope_is_used_even_under_no_grad():
    with torch.no_grad():
        act = activation(lambda x: x.sin() * 2.0)
        assert act.dphi(np.zeros(1)) == pytest.approx(2.0)


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0]


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


def test_a_straight_through_derivative_is_taken_as_autograd_gives_it():
    with pytest.warns(TheoryWarning, match="jumps"):
        act = activation(Rounded.apply)
    assert gaussian_moments(act, 1.0).slope_square == pytest.approx(1.0)


def test_a_hand_made_activation_is_integrated_with_verification():
    act = Activation("square", np.square, lambda h: 2 * h)
    assert gaussian_moments(act, 3.0).slope_square == pytest.approx(12.0, rel=1e-12)
    assert repr(act) == "Activation('square')"


def test_callables_work_where_torch_is_not_loaded():
    code = (
        "import sys, numpy as np; from isometry.theory.activations.lookup import activation; "
        "act = activation(lambda h: np.maximum(h - 0.5, 0)); "
        "print(act.breakpoints, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(0.5,) False"


def test_a_kink_beyond_the_fine_scan_is_integrated_and_breaks_the_symmetry():
    act = activation(lambda h: h + np.maximum(h - 543.21, 0.0))
    assert not act.odd
    assert gaussian_moments(act, 1e6).slope == pytest.approx(
        1 + 0.5 * math.erfc(0.54321 / math.sqrt(2)), rel=1e-9
    )
