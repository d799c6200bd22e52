import pytest
import torch

from cases_maps import normal
from cases_rules import adjoint, call_of, follows, matrix
from isometry.nn.tape.maps import Cast, Diagonal, Expand
from isometry.nn.tape.rules import Term, conform, linearise, local

aten = torch.ops.aten
X, ROW, Y = normal(2, 3), normal(3, seed=1), normal(2, 3, seed=2)
MASK = torch.tensor([[True, False, True], [False, False, True]])

CALLS = {
    "sum with a factor": (aten.add.Tensor, (X, ROW), {"alpha": -0.3}, [X, ROW]),
    "difference with a factor": (aten.sub.Tensor, (ROW, X), {"alpha": 0.3}, [X, ROW]),
    "difference the other way": (aten.rsub.Scalar, (X, 2.0, 3), {}, [X]),
    "negative": (aten.neg.default, (X,), {}, [X]),
    "product": (aten.mul.Tensor, (X, ROW), {}, [X, ROW]),
    "square as a product": (aten.mul.Tensor, (X, X), {}, [X]),
    "multiple": (aten.mul.Tensor, (X, -1.7), {}, [X]),
    "quotient by a constant": (aten.div.Tensor, (X, ROW), {}, [X]),
    "quotient by a number": (aten.div.Tensor, (X, -3.0), {}, [X]),
    "quotient": (aten.div.Tensor, (X, ROW), {}, [X, ROW]),
    "constant over the input": (aten.div.Tensor, (X, ROW), {}, [ROW]),
    "copy": (aten.clone.default, (X,), {}, [X]),
    "masked": (aten.masked_fill.Scalar, (X, MASK, 2.0), {}, [X]),
    "choice": (aten.where.self, (MASK, X, ROW), {}, [X, ROW]),
    "activation": (aten.gelu.default, (X,), {"approximate": "tanh"}, [X]),
    "interpolated": (aten.lerp.Scalar, (X, Y, 0.3), {}, [X, Y]),
    "product added": (aten.addcmul.default, (ROW, X, Y), {"value": -0.5}, [ROW, X, Y]),
    "rounded": (aten.round.default, (X,), {}, [X]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_and_its_transpose_have_the_jacobian_of_every_operand(name):
    func, args, kwargs, on = CALLS[name]
    assert follows(func, *args, on=on, **kwargs)


def altered(change):
    def rule(call):
        return [Term(t.node, [*t.maps, change], t.output) for t in linearise(call)]

    return rule


@pytest.mark.parametrize("name", ["sum with a factor", "product", "activation"])
@pytest.mark.parametrize("factor", [-1.0, 1.001])
def test_a_wrong_sign_or_factor_in_a_rule_is_seen(name, factor):
    func, args, kwargs, on = CALLS[name]
    wrong = altered(Diagonal(torch.full((2, 3), factor, dtype=X.dtype)))
    assert not follows(func, *args, on=on, linearised=wrong, **kwargs)


def test_the_fallback_has_the_jacobian_of_every_operand_of_any_op():
    assert linearise(call_of(aten.cumprod.default, X, 1, on=[X])) is None
    assert follows(aten.cumprod.default, X, 1, on=[X], linearised=local)
    assert follows(aten.mul.Tensor, X, ROW, on=[X, ROW], linearised=local)
    assert follows(aten.mul.Tensor, X, X, on=[X], linearised=local)


def test_what_autograd_cuts_has_no_terms():
    for func in (aten.detach.default, aten.zeros_like.default):
        assert linearise(call_of(func, X, on=[X])) == []


def test_an_operand_is_cast_before_it_is_broadcast():
    single = ROW.float()
    assert [type(linear) for linear in conform(single, X)] == [Cast, Expand]
    assert conform(Y, X) == []


def test_an_overwritten_value_depends_on_the_source_alone():
    (term,) = linearise(call_of(aten.copy.default, X, ROW, on=[X, ROW]))
    repeated = torch.eye(3, dtype=X.dtype).repeat(2, 1)
    assert term.node == 1
    assert torch.equal(matrix(term.maps, (3,)), repeated)
    assert torch.equal(adjoint(term.maps, (2, 3)), repeated.T)
