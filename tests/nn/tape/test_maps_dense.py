import pytest
import torch
from torch.nn import functional as F

from cases_maps import agrees, jacobian, normal
from isometry.nn.tape.maps_dense import (
    ConvGeometry,
    Convolution,
    CumulativeSum,
    Folded,
    Local,
    LocalGraph,
    LogSoftmaxSlope,
    RightProduct,
    SoftmaxSlope,
    Standardise,
)

EPS = 1e-5
X = normal(2, 3, 4)
IMAGE = normal(1, 2, 5, 4)


def standardised(x, centred):
    mean = x.mean(-1, keepdim=True) if centred else torch.zeros(())
    rstd = ((x - mean).square().mean(-1, keepdim=True) + EPS).rsqrt()
    return (x - mean) * rstd, rstd


def standardise(centred):
    z, rstd = standardised(X, centred)
    return Standardise(z, rstd, (-1,), centred)


def convolution(transposed):
    """Return a strided, dilated, grouped convolution whose stride leaves a remainder."""
    weight = normal(2, 2 if transposed else 1, 2, 3, seed=1)
    if transposed:
        geometry = ConvGeometry((3, 2), (1, 0), (1, 1), True, (1, 1), 2)

        def f(x):
            return F.conv_transpose2d(x, weight, None, (3, 2), (1, 0), (1, 1), 2)
    else:
        geometry = ConvGeometry((3, 2), (1, 0), (2, 1), False, (0, 0), 2)

        def f(x):
            return F.conv2d(x, weight, None, (3, 2), (1, 0), (2, 1), 2)

    return Convolution(weight, geometry, IMAGE.shape, f(IMAGE).shape), f, IMAGE


def one_op(f, x):
    leaf = x.clone().requires_grad_()
    return Local(LocalGraph("op", leaf, f(leaf)))


def pooled(x):
    return F.avg_pool2d(x, 2, padding=1)


M, BATCH = normal(4, 5, seed=1), normal(2, 4, 5, seed=1)
MAPS = {
    "one matrix": (RightProduct(M), lambda x: x @ M, X),
    "a matrix per entry": (RightProduct(BATCH), lambda x: x @ BATCH, X),
    "convolution": convolution(transposed=False),
    "transposed convolution": convolution(transposed=True),
    "layer norm": (standardise(True), lambda x: standardised(x, True)[0], X),
    "root mean square norm": (standardise(False), lambda x: standardised(x, False)[0], X),
    "softmax": (SoftmaxSlope(X.softmax(-2), -2), lambda x: x.softmax(-2), X),
    "log-softmax": (LogSoftmaxSlope(X.softmax(-2), -2), lambda x: x.log_softmax(-2), X),
    "cumulative sum": (CumulativeSum(-2), lambda x: x.cumsum(-2), X),
    "pool": (Folded(pooled, IMAGE.shape), pooled, IMAGE),
    "one op": (one_op(lambda x: x.sin().cumprod(-1), X), lambda x: x.sin().cumprod(-1), X),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_map_and_its_transpose_have_the_matrix_of_the_plain_function(name):
    linear, f, x = MAPS[name]
    assert agrees(linear, jacobian(f, x), x.shape, f(x).shape)


WRONG = {
    "one matrix": RightProduct(-M),
    "layer norm": standardise(False),
    "softmax": SoftmaxSlope(X.softmax(-2), -1),
    "log-softmax": LogSoftmaxSlope(X.softmax(-2), -2, adjoint=True),
    "cumulative sum": CumulativeSum(-2, reverse=True),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_sign_side_or_axis_is_told_from_the_right_map(name):
    _, f, x = MAPS[name]
    assert not agrees(WRONG[name], jacobian(f, x), x.shape, f(x).shape)


def test_a_fitted_normalisation_has_the_layout_of_the_tangents_and_the_same_product():
    slope = standardise(True)
    v = normal(2, 4, 3, 2, seed=1).permute(0, 3, 2, 1)
    fitted = slope.fitted(v)
    assert fitted.z.stride() == v[0].stride() != slope.z.stride()
    assert torch.allclose(fitted.apply(v), slope.apply(v), rtol=1e-12, atol=1e-12)
