import torch

from cases_shards import IDS, Tokens, pretending, shard
from isometry.nn.init.draw_twin import is_sharded, meta_twin


def test_a_sharded_model_has_a_whole_twin_without_hooks():
    with pretending(1, 4):
        model = shard(Tokens(), {"dp": 2, "tp": 2})
        before = {name: tuple(p.to_local().shape) for name, p in model.layers.named_parameters()}
        twin = meta_twin(model)
        assert is_sharded(model)
        assert not is_sharded(twin)
        assert type(twin) is Tokens
        for name, p in Tokens().named_parameters():
            assert twin.get_parameter(name).shape == p.shape
            assert twin.get_parameter(name).is_meta
        assert twin(IDS.to("meta")).shape == (1, 6, 19)
        after = {name: tuple(p.to_local().shape) for name, p in model.layers.named_parameters()}
        assert before == after
        assert model.layers[0]._forward_pre_hooks


def test_weights_that_are_tied_and_modules_that_occur_twice_stay_one():
    model = Tokens()
    model.head.weight = model.embed.weight
    model.again = model.layers[0]
    twin = meta_twin(model)
    assert twin.head.weight is twin.embed.weight
    assert twin.again is twin.layers[0]
    assert not model.head.weight.is_meta


def test_hooks_of_a_plain_model_are_left_out():
    model = Tokens()
    model.register_forward_hook(lambda *_: 1 / 0)
    assert meta_twin(model)(IDS.to("meta")).is_meta
    assert torch.is_tensor(meta_twin(model).embed.weight)
