import pytest
import torch

from isometry.nn.tape.memory import Geometry

VIEWS = {
    "all": lambda m: m,
    "transposed": lambda m: m.T,
    "row": lambda m: m[1],
    "column": lambda m: m[:, 2],
    "steps": lambda m: m[::2, 1::2],
    "entry": lambda m: m[2, 3],
}


def memory():
    return torch.arange(12, dtype=torch.float64).reshape(3, 4)


@pytest.mark.parametrize("name", VIEWS)
def test_places_say_where_the_entries_of_a_view_lie(name):
    view = VIEWS[name](memory())
    # the memory holds its own positions
    assert torch.equal(Geometry.of(view).places, view.long())


@pytest.mark.parametrize("name", VIEWS)
def test_owners_are_the_inverse_of_places(name):
    view = VIEWS[name](memory())
    owners = Geometry.of(view).owners
    assert torch.equal(owners[view.long()].flatten(), torch.arange(view.numel()))
    assert int((owners < 0).sum()) == 12 - view.numel()


def test_only_a_view_of_every_entry_covers_its_memory():
    assert {name for name in VIEWS if Geometry.of(VIEWS[name](memory())).covers} == {
        "all",
        "transposed",
    }


def test_a_view_that_repeats_entries_does_not_cover_its_memory():
    assert not Geometry.of(torch.arange(3.0).expand(3, 3)).covers
    assert not Geometry.of(torch.arange(4.0).as_strided((2, 3), (1, 1))).covers
