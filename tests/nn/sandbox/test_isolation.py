import random

import numpy as np
import pytest
import torch
from torch import nn

from isometry import nn as inn


class Messy(nn.Module):
    """Leaves a trace in every way that a forward pass has."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.embed = nn.Embedding(4, 3, max_norm=0.1)
        self.cache, self.count, self.history = torch.zeros(3), 0, ["made"]
        self.table = {"last": None}
        self.register_buffer("steps", torch.zeros(()))
        self.numbers = torch.Generator()

    def forward(self, x):
        self.cache += 1
        self.last = x
        self.count += 1
        self.history.append(x)
        self.table["last"] = x
        self.steps += 1
        self.steps = self.steps + 1
        self.layer.weight.grad = None
        torch.rand(1, generator=self.numbers)
        np.random.rand()  # noqa: NPY002
        random.random()
        self.train(not self.training)
        return x + self.layer(x) + self.embed(torch.tensor([1])).detach()


def trace(model):
    return {
        "tensors": [t.detach().clone().tolist() for t in model.state_dict().values()],
        "identity": [id(t) for t in [*model.parameters(), *model.buffers()]],
        "grad": id(model.layer.weight.grad),
        "cache": (id(model.cache), model.cache.tolist()),
        "plain": (model.count, list(model.history), dict(model.table), sorted(vars(model))),
        "modes": [m.training for m in model.modules()],
        "random": (
            model.numbers.get_state().tolist(),
            torch.get_rng_state().tolist(),
            str(np.random.get_state(legacy=False)),  # noqa: NPY002
        ),
    }


@pytest.mark.parametrize(
    "measure",
    [
        lambda m, x: inn.JacobianOperator(m, x).to_dense(),
        lambda m, x: inn.JacobianOperator(m, x, route="autograd") @ torch.ones(3),
        inn.residual_blocks,
        lambda m, x: inn.diagnose(m, x, generator=torch.Generator().manual_seed(0)),
        lambda m, x: inn.plan(m, x, generator=torch.Generator().manual_seed(0)),
    ],
)
def test_a_model_that_leaves_traces_comes_out_as_it_went_in(measure):
    model = Messy()
    model.layer.weight.grad = torch.ones(3, 3)
    before = trace(model)
    measure(model, torch.ones(1, 3))
    assert trace(model) == before


def test_a_module_that_is_made_on_the_first_call_is_gone_afterwards():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = None

        def forward(self, x):
            if self.inner is None:
                self.inner = nn.Linear(3, 3)
                nn.init.eye_(self.inner.weight)
                nn.init.zeros_(self.inner.bias)
            return self.inner(x)

    model = Late()
    J = inn.JacobianOperator(model, torch.ones(3))
    torch.testing.assert_close(J.to_dense(), torch.eye(3))
    assert model.inner is None
    assert not list(model.parameters())
