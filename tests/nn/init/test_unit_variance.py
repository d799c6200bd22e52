import pytest
import torch
from torch import nn
from torch.nn import functional

from cases_modules import Residual, encoder, mlp, stack
from isometry.nn.init.baselines import lsuv
from isometry.nn.init.init import apply_


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Reversed(nn.Module):
    """Registers its maps in another order than they run."""

    def __init__(self):
        super().__init__()
        self.last, self.middle, self.first = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        return x + self.last(torch.relu(self.middle(torch.relu(self.first(x)))))


class Functional(nn.Module):
    """Holds its weights itself, one of them as the weights of three experts."""

    def __init__(self):
        super().__init__()
        self.bank, self.down = nn.Parameter(torch.randn(3, 24, 16)), nn.Linear(24, 16)

    def forward(self, x):
        h = sum(functional.gelu(functional.linear(x, self.bank[e])) for e in range(3))
        return x + functional.linear(h, self.down.weight)


class Equalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 16))

    def forward(self, x):
        return x + functional.linear(x, self.weight * 0.25)


def normed():
    return Residual(nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)))


MODELS = {
    "in order": lambda: stack(lambda: Residual(mlp(16, 32))),
    "registered in reverse": lambda: stack(Reversed),
    "attention": lambda: encoder(True).eval(),
    "functional": lambda: stack(Functional),
    "equalised learning rate": lambda: stack(Equalised),
    "weight norm": lambda: stack(normed),
}


def deviations(model, x):
    """The standard deviation of every product with a weight, where torch computes it."""
    found = []

    class Products(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if func.overloadpacket in (torch.ops.aten.addmm, torch.ops.aten.mm):
                found.append(float(out.detach().std(correction=0)))
            return out

    with Products():  # with gradients, so that attention takes no fused path
        model(x)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_map_has_unit_output_variance(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[name]()
    x = torch.randn(8, 4, 16, generator=seeded(3))
    before = deviations(model, x)
    apply_(model, lsuv(model, x, generator=seeded(1)))
    found = deviations(model, x)
    assert len(found) == len(before) >= 3
    assert found == pytest.approx([1.0] * len(found), rel=1e-3)
    assert before != pytest.approx([1.0] * len(before), rel=0.05)
