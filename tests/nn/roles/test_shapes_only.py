import torch
from torch import nn

from isometry.nn.roles.shapes_only import is_sharded, shapes_only


def test_modules_hold_shapes_for_a_while_and_tied_weights_stay_tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    before = {key: id(value) for key, value in model.state_dict(keep_vars=True).items()}
    with shapes_only([model]):
        assert all(t.is_meta for t in [*model.parameters(), *model.buffers()])
        assert model[2].weight is model[0].weight
        assert model(torch.empty(2, 4, device="meta")).shape == (2, 4)
    assert {key: id(value) for key, value in model.state_dict(keep_vars=True).items()} == before


def test_hooks_of_torchs_collectives_are_left_out_and_others_are_called():
    model, called = nn.Linear(2, 2), []
    model.register_forward_pre_hook(lambda *_: called.append("own"))

    def gather(*_):
        called.append("gathered")

    gather.__module__ = "torch.distributed.fsdp"
    model.register_forward_pre_hook(gather)
    with shapes_only([model]):
        model(torch.empty(1, 2, device="meta"))
    assert called == ["own"]
    model(torch.ones(1, 2))
    assert called == ["own", "own", "gathered"]


def test_a_model_in_one_process_is_not_sharded():
    assert not is_sharded([nn.Linear(2, 2)])
