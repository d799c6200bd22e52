import pytest
import torch
from torch import nn

from cases_operators import ROUNDING, batch_norm_net, random_block, relative
from isometry.errors import TheoryWarning
from isometry.nn.jacobian.jacobian import JacobianOperator


def test_initial_running_statistics_are_reported():
    net = batch_norm_net().eval()
    with pytest.warns(TheoryWarning, match=r"layer '1' .*never updated .*batch_norm='batch'"):
        J = JacobianOperator(net, torch.randn(1, 2, 4, 4, generator=torch.Generator()))
    assert J.batch_norm == "running statistics"


def test_functional_batch_norm_follows_the_statement_too():
    x = random_block(6, 2)

    def f(x):
        return nn.functional.batch_norm(x, None, None, training=True)

    J = JacobianOperator(f, x, batch_norm="batch")
    expected = torch.diag((1 / (x.var(0, correction=0) + 1e-5).sqrt()).repeat(6))
    assert relative(J.to_dense() - expected, expected) < ROUNDING
    assert J.batch_norm == "statistics of `x`, as constants"


def test_layer_used_twice_has_two_frozen_statistics():
    norm = nn.BatchNorm1d(2).double()
    x = random_block(6, 2)
    J = JacobianOperator(lambda x: norm(3 * norm(x) ** 3), x, batch_norm="batch")
    h = norm(x).detach()
    slopes = [(v.var(0, correction=0) + 1e-5).rsqrt() for v in (x, 3 * h**3)]
    expected = torch.diag((9 * h**2 * slopes[0] * slopes[1]).flatten()).detach()
    assert relative(J.to_dense() - expected, expected) < ROUNDING


@pytest.mark.parametrize(
    ("f", "shape", "batch_norm", "message"),
    [
        (batch_norm_net(), (1, 2, 4, 4), None, "layer '1' normalises with the statistics of the b"),
        (nn.BatchNorm1d(2), (1, 2), "batch", "`x` gives BatchNorm1d one value per channel"),
        (nn.BatchNorm1d(2, track_running_stats=False), (3, 2), "eval", "keeps no running stat"),
        (nn.ReLU(), (3,), "train", "`batch_norm` is 'train'; expected None or one of 'eval', 'ba"),
    ],
)
def test_batch_norm_has_to_be_stated_and_possible(f, shape, batch_norm, message):
    with pytest.raises(ValueError, match=message):
        JacobianOperator(f, torch.ones(shape), batch_norm=batch_norm)
