import pytest
import torch

from cases_maps import agrees, dense, jacobian, normal
from isometry.nn.tape.maps import (
    Cast,
    Diagonal,
    Embed,
    Expand,
    Identity,
    Permute,
    Placement,
    Reshape,
    Scale,
    Selection,
    Slice,
    SumTo,
)

D = normal(4, seed=3)
CUT = (slice(0, 3, 2), 1, slice(1, 4))
COPIES = torch.tensor([[2, 0, -1], [2, 5, 2]])  # one entry three times, one place left zero


def embedded(x):
    total = torch.zeros(3, 2, 4, dtype=x.dtype)
    total[CUT] = x
    return total


def selected(x):
    return torch.stack([x[2], x[0], 0 * x[0], x[2], x[5], x[2]]).reshape(2, 3)


def placed(y):
    rest = torch.zeros_like(y[0, 0])
    return torch.stack([y[0, 1], rest, y[0, 0] + y[1, 0] + y[1, 2], rest, rest, y[1, 1]])


MAPS = {
    "identity": (Identity(), lambda x: x.clone(), (3, 4)),
    "scale": (Scale(-0.7), lambda x: -0.7 * x, (3, 4)),
    "diagonal": (Diagonal(D), lambda x: x * D, (3, 4)),
    "reshape": (Reshape((3, 4), (2, 6)), lambda x: x.reshape(2, 6), (3, 4)),
    "permute": (Permute((2, 0, 1)), lambda x: x.permute(2, 0, 1), (2, 3, 4)),
    "expand": (Expand((3, 1), (2, 3, 4)), lambda x: x.expand(2, 3, 4), (3, 1)),
    "sum to": (SumTo((2, 3, 4), (3, 1)), lambda x: x.sum((0, 2))[:, None], (2, 3, 4)),
    "slice": (Slice((3, 2, 4), CUT), lambda x: x[CUT], (3, 2, 4)),
    "embed": (Embed((3, 2, 4), CUT), embedded, (2, 3)),
    "selection": (Selection(COPIES, (6,)), selected, (6,)),
    "placement": (Placement(COPIES, (6,)), placed, (2, 3)),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_map_and_its_transpose_have_the_matrix_of_the_plain_function(name):
    linear, f, shape = MAPS[name]
    x = normal(*shape)
    assert agrees(linear, jacobian(f, x), shape, f(x).shape)


@pytest.mark.parametrize("name", MAPS)
def test_adding_to_a_total_adds_the_image_and_leaves_the_tangents(name):
    linear, f, shape = MAPS[name]
    v = normal(2, *shape, seed=1)
    total, kept = normal(2, *f(v[0]).shape, seed=2), v.clone()
    expected = total + linear.apply(v)
    assert torch.allclose(linear.add_to(total, v), expected, rtol=1e-12, atol=1e-12)
    assert torch.allclose(total, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(v, kept)


@pytest.mark.parametrize("name", [name for name in MAPS if MAPS[name][0].in_place])
def test_a_map_that_may_overwrite_its_argument_gives_the_same_image(name):
    linear, _, shape = MAPS[name]
    v = normal(2, *shape, seed=1)
    expected = linear.apply(v).clone()
    assert torch.equal(linear.apply_(v), expected)


@pytest.mark.parametrize("wrong", [Scale(0.7), Scale(-0.7001), Diagonal(-D), Identity()])
def test_a_wrong_sign_or_factor_is_told_from_the_right_map(wrong):
    expected = dense(Scale(-0.7).apply, (3, 4))
    assert agrees(Scale(-0.7), expected, (3, 4), (3, 4))
    assert not agrees(wrong, expected, (3, 4), (3, 4))


def test_a_fitted_diagonal_has_the_layout_of_the_tangents_and_the_same_product():
    d, v = normal(3, 4), normal(2, 4, 3, seed=1).mT
    fitted = Diagonal(d).fitted(v)
    assert fitted.d.stride() == v[0].stride() != d.stride()
    assert torch.equal(fitted.apply(v), v * d)


def test_a_cast_is_transposed_by_the_cast_back():
    cast = Cast(torch.float64, torch.float32)
    v = normal(2, 3)
    assert torch.equal(cast.apply(v), v.float())
    assert torch.equal(cast.transpose.apply(v.float()), v.float().double())
