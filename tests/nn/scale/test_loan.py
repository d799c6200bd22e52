import pytest
import torch
from torch import nn

from isometry.nn.scale.loan import gathered, lent


class Counting(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.last = torch.rand(3)
        return super().forward(x)


def test_the_model_and_the_generators_are_put_back():
    model = Counting()
    gradient = torch.ones_like(model.weight)
    model.weight.grad = gradient
    before = torch.get_rng_state()
    with lent([model]):
        assert not model.weight.requires_grad
        model(torch.ones(1, 3))
        model.weight.grad = None
    assert model.calls == 0
    assert model.weight.requires_grad
    assert model.weight.grad is gradient
    assert not hasattr(model, "last")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Dropout(0.1), r"dropout in train mode in layer '1'.*model.eval"),
        (nn.BatchNorm1d(3), r"statistics of the batch in layer '1'.*model.eval"),
    ],
)
def test_layers_in_train_mode_are_refused(layer, message):
    model = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(ValueError, match=message), lent([model]):
        pass
    with lent([model.eval()]):
        pass


def test_an_ordinary_layer_has_nothing_to_gather():
    layer = nn.Linear(3, 3)
    with gathered(layer):
        assert layer.weight.requires_grad
