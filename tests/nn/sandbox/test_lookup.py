import pytest
import torch
from torch import nn
from torch.nn import functional

from isometry.nn.sandbox.lookup import FoundLookup, Lookup

IDS = torch.tensor([[2, 0, 1]])
TABLE = torch.eye(4).mul(3)

MODELS = {
    "embedding": lambda ids: functional.embedding(ids, TABLE),
    "indexing": lambda ids: TABLE[ids.reshape(-1).long()],
    "positions first": lambda ids: (
        functional.embedding(torch.arange(3), TABLE),
        functional.embedding(ids.clone(), TABLE),
    )[1],
    "one hot": lambda ids: functional.one_hot(ids, 4).float(),
    "cast": lambda ids: ids.float(),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_first_that_is_made_of_the_ids_is_found_and_replaced(name):
    model, ids = MODELS[name], IDS.clone()
    found = Lookup(ids)
    with pytest.raises(FoundLookup), found:
        model(ids)
    assert torch.equal(found.value, model(IDS))
    other = torch.full_like(found.value, 7.0)
    with Lookup(ids, other):
        assert model(ids) is other


def test_positions_that_equal_the_ids_are_not_the_ids():
    ids, wpe, wte = torch.arange(3)[None], nn.Embedding(3, 2), nn.Embedding(3, 2)
    found = Lookup(ids)
    with pytest.raises(FoundLookup), found:
        wpe(torch.arange(3)[None]) + wte(ids)
    assert found.described(nn.ModuleDict({"wte": wte, "wpe": wpe}), "idx") == (
        "what `embedding` makes of `idx` with `wte.weight`"
    )
