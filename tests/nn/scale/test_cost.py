import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from isometry.nn.scale.cost import Cost, held_bytes


def work():
    first = torch.ones(1000)
    second = first + 1
    del first
    third = second * 2
    return third.sum()


# Two vectors of 4,000 bytes at a time and a few scalars; three would be 12,000.
def test_bytes_that_are_alive_at_once_are_counted():
    with Cost() as cost:
        work()
    assert 8000 <= cost.peak < 9000


def test_fake_tensors_count_as_real_ones_do():
    with FakeTensorMode(), Cost() as cost:
        work()
    assert 8000 <= cost.peak < 9000


def test_memory_that_is_given_back_in_place_is_not_counted():
    with Cost() as cost:
        first = torch.ones(1000)
        first.untyped_storage().resize_(0)
        work()
    assert 8000 <= cost.peak < 9000


def test_views_take_nothing():
    x = torch.ones(1000)
    with Cost() as cost:
        x.view(10, 100).t()
    assert cost.peak == 0


def test_tied_parameters_are_held_once():
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    assert held_bytes(model) == 800
    model[1].weight = model[0].weight
    assert held_bytes(model) == 400
