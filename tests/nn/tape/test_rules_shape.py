import pytest
import torch

from cases_maps import normal
from cases_rules import call_of, follows
from isometry.nn.tape.rules import linearise

aten = torch.ops.aten
X, Y, ROW = normal(2, 3, 4), normal(2, 3, 4, seed=1), normal(1, 3, 1, seed=2)
IMAGE = normal(2, 2, 4, 4, seed=3)
AT = torch.tensor([2, 0, 2])  # one position twice
PLACES = torch.tensor([2, 0])
HALF = normal(2, 2, 4, seed=4)

CALLS = {
    "view": (aten.view.default, (X, [6, 4]), {}, [X]),
    "permute": (aten.permute.default, (X, [2, 0, 1]), {}, [X]),
    "expand": (aten.expand.default, (ROW, [2, 3, 4]), {}, [ROW]),
    "slice": (aten.slice.Tensor, (X, 2, -3, 100, 2), {}, [X]),
    "select": (aten.select.int, (X, 1, -1), {}, [X]),
    "unbind": (aten.unbind.int, (X, 1), {}, [X]),
    "split unevenly": (aten.split.Tensor, (X, 3, 2), {}, [X]),
    "join": (aten.cat.default, ([X, Y, X], 1), {}, [X, Y]),
    "stack": (aten.stack.default, ([X, Y], 2), {}, [X, Y]),
    "pad and cut": (aten.constant_pad_nd.default, (X, [-1, 2, 1, -2]), {}, [X]),
    "flip": (aten.flip.default, (X, [0, 2]), {}, [X]),
    "roll": (aten.roll.default, (X, [1], [2]), {}, [X]),
    "repeat": (aten.repeat.default, (X, [2, 1, 2]), {}, [X]),
    "index select": (aten.index_select.default, (X, 2, AT), {}, [X]),
    "triangle": (aten.tril.default, (X, 1), {}, [X]),
    "index put": (aten.index_copy.default, (X, 1, PLACES, HALF), {}, [X, HALF]),
    "largest": (aten.max.dim, (X, 1), {}, [X]),
    "sort": (aten.sort.default, (X, 1, True), {}, [X]),
    "max pool": (aten.max_pool2d_with_indices.default, (IMAGE, [3, 3], [1, 1]), {}, [IMAGE]),
    "sum": (aten.sum.dim_IntList, (X, [0, -1]), {}, [X]),
    "mean": (aten.mean.dim, (X, [1], True), {}, [X]),
    "mean of all": (aten.mean.default, (X,), {}, [X]),
    "variance": (aten.var.correction, (X, [1]), {"correction": 1}, [X]),
    "deviation": (aten.std.correction, (X, [0, 2]), {"correction": 0, "keepdim": True}, [X]),
    "variance and mean": (aten.var_mean.correction, (X, [2]), {"correction": 2}, [X]),
    "norm": (aten.linalg_vector_norm.default, (X, 2, [1]), {}, [X]),
    "log of a sum of exponentials": (aten.logsumexp.default, (X, [1]), {}, [X]),
    "cumulative sum": (aten.cumsum.default, (X, 1), {}, [X]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_and_its_transpose_have_the_jacobian_of_every_operand(name):
    func, args, kwargs, on = CALLS[name]
    assert follows(func, *args, on=on, **kwargs)


WRONG = {
    "another correction": (aten.var.correction, (X, [1]), {"correction": 0}, "variance"),
    "another axis": (aten.cumsum.default, (X, 2), {}, "cumulative sum"),
    "another order": (aten.sort.default, (X, 1, False), {}, "sort"),
    "another start": (aten.slice.Tensor, (X, 2, -4, 100, 2), {}, "slice"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_maps_of_another_call_are_seen(name):
    func, args, kwargs, right = WRONG[name]
    terms = linearise(call_of(func, *args, on=[X], **kwargs))
    func, args, kwargs, on = CALLS[right]
    assert not follows(func, *args, on=on, linearised=lambda _: terms, **kwargs)


def test_a_norm_of_zeros_has_a_zero_derivative():
    zeros = torch.zeros(2, 3, dtype=torch.float64)
    assert follows(aten.linalg_vector_norm.default, zeros, 2, [1], on=[zeros])


def test_reductions_and_writes_that_are_no_copies_have_no_rule():
    assert linearise(call_of(aten.linalg_vector_norm.default, X, 3, [1], on=[X])) is None
    put = (aten.index_put.default, X, [PLACES % 2], normal(2, 3, 4), True)
    assert linearise(call_of(*put, on=[X])) is None
