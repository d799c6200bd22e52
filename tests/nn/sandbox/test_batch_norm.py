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


class Residual(nn.Module):
    """x + conv(relu(norm(conv(x)))), the normalisation called in one of several ways."""

    def __init__(self, how):
        super().__init__()
        self.first, self.last = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))
        self.norm, self.how = nn.BatchNorm2d(2), how

    def forward(self, x):
        h, n = self.first(x), self.norm
        if self.how == "torch":
            statistics = n.running_mean, n.running_var
            h = torch.batch_norm(h, n.weight, n.bias, *statistics, n.training, 0.1, n.eps, False)
        else:
            statistics = n.running_mean, n.running_var
            h = torch.ops.aten.native_batch_norm(
                h, n.weight, n.bias, *statistics, n.training, 0.1, n.eps
            )[0]
        return x + self.last(torch.relu(h))


class Plain(Residual):
    def forward(self, x):
        return x + self.last(torch.relu(self.norm(self.first(x))))


def normalising(how="module"):
    torch.manual_seed(0)
    net = (Plain if how == "module" else Residual)(how).double()
    net.norm.running_mean.normal_()
    net.norm.running_var.uniform_(0.5, 2)
    return net.train()


def exported(x):
    return torch.export.export(normalising(), (x,)).module()


HOW = {
    "torch.batch_norm": lambda x: normalising("torch"),
    "an aten operator": lambda x: normalising("operator"),
    "torch.export": exported,
    "torch.export, decomposed": lambda x: (
        torch.export.export(normalising(), (x,)).run_decompositions().module()
    ),
    "torch.jit.script": lambda x: torch.jit.script(normalising()),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize("how", HOW)
def test_batch_norm_obeys_or_is_refused_whoever_calls_it(how):
    x = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(1)).double()
    net = HOW[how](x)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"`batch_norm` is None but .* statistics of the batch"):
        JacobianOperator(net, x)
    for statistics in ("eval", "batch"):
        expected = JacobianOperator(normalising(), x, batch_norm=statistics).to_dense()
        if statistics == "batch" and how == "torch.jit.script":
            with pytest.raises(ValueError, match=r"out of reach; expected an eager model"):
                JacobianOperator(net, x, batch_norm=statistics)
        else:
            J = JacobianOperator(net, x, batch_norm=statistics)
            assert relative(J.to_dense() - expected, expected) < ROUNDING
            assert J.batch_norm != "not met"
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("how", ["eager", "scripted"])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_norm_of_each_instance_is_no_batch_norm(how):
    norm = nn.InstanceNorm2d(2).double()
    f = torch.jit.script(norm) if how == "scripted" else norm
    x = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(1)).double()
    expected = torch.autograd.functional.jacobian(norm, x).reshape(18, 18)
    J = JacobianOperator(f, x)
    assert relative(J.to_dense() - expected, expected) < ROUNDING
