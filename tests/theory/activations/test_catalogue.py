import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cases_activations import table
from isometry.theory.activations.lookup import activation, activation_names

JUMPS = pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
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
