import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from isometry import nn as inn
from isometry.nn.sandbox.unwrap import plain_modules, plain_parameters, unwrapped


class Residual(nn.Module):
    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return x + self.branch(x)


def net(wrap=lambda module: module):
    torch.manual_seed(0)
    return nn.Sequential(
        *(Residual(wrap(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)))) for _ in "ab")
    )


WRAPPERS = {
    "compiled": lambda m: torch.compile(m, backend="eager"),
    "data parallel": nn.DataParallel,
    "averaged": AveragedModel,
    "twice": lambda m: nn.DataParallel(torch.compile(m, backend="eager")),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_plan_goes_from_a_bare_model_to_a_wrapped_one_and_back(wrapper):
    x = torch.ones(1, 6)
    bare = net()
    early = inn.plan(bare, x, c=0.7, generator=torch.Generator().manual_seed(0))
    for wrapped in (WRAPPERS[wrapper](net()), net(WRAPPERS[wrapper])):
        late = inn.plan(wrapped, x, c=0.7, generator=torch.Generator().manual_seed(0))
        assert list(late.changes) == list(early.changes)
        assert [b.name for b in late.blocks] == [b.name for b in early.blocks]
        inn.apply_(wrapped, early)
        inn.apply_(bare, late)
        pairs = zip(bare.parameters(), wrapped.parameters(), strict=True)
        assert all(torch.allclose(a, b, rtol=1e-5) for a, b in pairs)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_names_are_those_of_the_bare_model(wrapper):
    bare, wrapped = net(), net(WRAPPERS[wrapper])
    assert list(plain_parameters(wrapped)) == list(dict(bare.named_parameters()))
    names = dict.fromkeys(name for name, _ in plain_modules(wrapped))
    assert list(names) == list(dict(bare.named_modules()))
    inside = unwrapped(WRAPPERS[wrapper](bare))
    assert inside is bare or wrapper == "averaged"  # which keeps a copy


def test_tied_parameters_are_named_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert list(plain_parameters(model)) == list(dict(model.named_parameters()))
