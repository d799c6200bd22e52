import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from cases_modules import Residual, stack
from isometry.nn.init.baselines import he
from isometry.nn.init.init import apply_


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built(layer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return stack(layer)


class Experts(nn.Module):
    """Banks of experts, stored as (experts, in, out) and (experts, out, in)."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(24, 4, bias=False)
        self.up = nn.Parameter(torch.randn(4, 24, 48))
        self.down = nn.Parameter(torch.randn(4, 24, 48))

    def forward(self, x):
        weights = self.gate(x).softmax(-1)
        h = torch.relu(torch.einsum("bi,eio->ebo", x, self.up))
        outputs = [functional.linear(h[e], self.down[e]) for e in range(4)]
        return x + sum(weights[:, e, None] * outputs[e] for e in range(4))


class Tokens(nn.Module):
    """What has two or more axes here is no map, but for the convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.layer_scale = nn.Parameter(torch.full((6, 1, 1), 0.1))
        self.position = nn.Parameter(torch.zeros(6, 4, 4))
        self.mixing = nn.Parameter(torch.full((1, 6, 1, 1), 0.5))

    def forward(self, x):
        y = self.mixing * x + (1 - self.mixing) * x.roll(1, -1)
        return x + self.layer_scale * self.conv(y + self.position)


def test_a_bank_of_experts_is_drawn_expert_by_expert():
    model, x = built(Experts), torch.randn(8, 24, generator=seeded(3))
    apply_(model, he(model, x, generator=seeded(1)))
    for layer in model:
        # five standard errors of a sample deviation of 4608 numbers: 5.2 %
        assert float(layer.up.detach().std()) == pytest.approx((2 / 24) ** 0.5, rel=0.053)
        assert float(layer.down.detach().std()) == pytest.approx((2 / 48) ** 0.5, rel=0.053)


def test_an_orthogonal_draw_makes_every_expert_orthogonal():
    from isometry.nn.init.baselines import lsuv

    model, x = built(Experts), torch.randn(8, 24, generator=seeded(3))
    apply_(model, lsuv(model, x, generator=seeded(1)))
    for expert in model[0].up.detach():
        gram = expert @ expert.T
        torch.testing.assert_close(gram, gram[0, 0] * torch.eye(24), rtol=1e-4, atol=1e-4)


def test_layer_scales_positions_and_mixing_vectors_are_no_maps():
    model, x = built(Tokens), torch.randn(2, 6, 4, 4, generator=seeded(3))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    made = he(model, x, generator=seeded(1))
    apply_(model, made)
    assert sorted({name.split(".", 1)[1] for name in made.changes}) == ["conv.bias", "conv.weight"]
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == ("conv" not in name)


class Equalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 64))

    def forward(self, x):
        return x + functional.linear(x, self.effective())

    def effective(self):
        return self.weight * 0.125


def normed():
    return Residual(nn.utils.parametrizations.weight_norm(nn.Linear(64, 64)))


def pruned():
    layer = Residual(nn.Linear(64, 64))
    prune.random_unstructured(layer.body, "weight", amount=0.5)
    return layer


COMPUTED = {
    "equalised learning rate": (Equalised, lambda layer: layer.effective()),
    "weight norm": (normed, lambda layer: layer.body.weight),
    "pruned": (pruned, lambda layer: layer.body.weight[layer.body.weight != 0]),
}


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.parametrize("case", COMPUTED)
def test_a_weight_that_is_computed_has_the_variance_of_the_rule(case):
    build, effective = COMPUTED[case]
    model, x = built(build), torch.randn(8, 64, generator=seeded(3))
    apply_(model, he(model, x, generator=seeded(1)))
    model(x)  # a pruned weight is computed when the module is called
    for layer in model:
        # the size is measured and corrected, so only the mean of 2048 entries is left
        assert float(effective(layer).detach().std()) == pytest.approx(32**-0.5, rel=0.03)
