from types import SimpleNamespace

import pytest
import torch
from torch import distributed
from torch.distributed import DeviceMesh

from isometry.nn.scale.probes import signs
from isometry.nn.scale.share import Part, Share, refuse_untried, sharded_over


class Mesh(DeviceMesh):
    """What is asked of a device mesh, on one of its ranks."""

    shape = (3, 2)

    def __init__(self, names=("dp", "tp")):
        self.names = names

    @property
    def mesh_dim_names(self):
        return self.names

    def get_group(self, name):
        return None

    def get_local_rank(self, name):
        return {"dp": 2, "tp": 1}[name]


def test_a_single_process_has_it_all():
    share = Share.of(None)
    assert share.parts == ()
    sums = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(share.total(sums, [(), ()]), sums)


def test_a_rank_draws_its_part_of_the_batch():
    share = Share((Part("dp", None, 0, 2, 3), Part("tp", None, None, 1, 2)))
    whole = signs((5, 0, 0, 0), (6, 4, 8))
    assert torch.equal(share.draw((5, 0, 0, 0), torch.zeros(2, 4, 8)), whole[4:])
    assert torch.equal(share.whole().draw((5, 0, 0, 0), torch.zeros(6, 4, 8)), whole)


def test_two_dimensions_may_split_the_same_axis_and_others():
    parts = [("outer", 0, 1, 2), ("inner", 0, 2, 3), ("sequence", 1, 1, 2)]
    share = Share(tuple(Part(name, None, axis, *at) for name, axis, *at in parts))
    whole = signs((0, 0), (12, 8, 5))
    assert torch.equal(share.draw((0, 0), torch.zeros(2, 4, 5)), whole[10:, 4:])


def test_an_axis_that_the_stream_does_not_have_is_refused():
    share = Share((Part("tp", None, 7, 0, 2),))
    with pytest.raises(ValueError, match=r"`split` has 'tp' split axis 7, and the stream has 3"):
        share.draw((0, 0), torch.zeros(2, 4, 5))


def test_names_say_what_is_split(monkeypatch):
    share = Share.of(Mesh())
    assert [(p.name, p.axis, p.place, p.size) for p in share.parts] == [
        ("dp", 0, 2, 3),
        ("tp", None, 0, 2),
    ]
    by_sequence = Share.of(Mesh(), {"dp": 0, "tp": 1})
    assert [p.axis for p in by_sequence.parts] == [0, 1]


def test_a_dimension_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"`split` names 'ttp'.*Did you mean 'tp'"):
        Share.of(Mesh(), {"ttp": 1})


def test_a_mesh_without_names_is_refused():
    with pytest.raises(ValueError, match=r"`mesh` has no names.*mesh_dim_names"):
        Share.of(Mesh(None))


@pytest.mark.parametrize(("name", "what"), [("cp", "sequence is"), ("ep_shard", "experts are")])
def test_dimensions_along_which_tokens_travel_in_a_layer_are_refused(name, what):
    with pytest.raises(NotImplementedError, match=rf"`mesh` has the dimension '{name}'.*{what}"):
        Share.of(Mesh(("dp", name)), {"dp": 0, name: 1})
    alone = SimpleNamespace(mesh_dim_names=("dp", name), shape=(3, 1))
    refuse_untried("`mesh`", alone)


def reduction(monkeypatch, *others):
    """Stand in for the other ranks of the one dimension there is."""

    def all_reduce(both, group):
        for other in others:
            both += torch.stack([other, other * other])

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)


def test_parts_of_the_batch_add_up(monkeypatch):
    reduction(monkeypatch, torch.full((1, 2), 5.0))
    share = Share((Part("dp", None, 0, 0, 2),))
    assert share.total(torch.tensor([[1.0, 2.0]]), [()]).tolist() == [[6.0, 7.0]]


def test_copies_of_the_stream_must_agree(monkeypatch):
    own = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    share = Share((Part("tp", None, None, 0, 2),))
    reduction(monkeypatch, own * (1 + 1e-6))
    torch.testing.assert_close(share.total(own, [(), ()]), own, rtol=1e-6, atol=0)
    reduction(monkeypatch, own + torch.tensor([[0.0, 0.0], [0.0, 0.1]]))
    with pytest.raises(
        ValueError, match=r"`tp` hold other parts.*block 1 on.*'tp' splits by `split=`"
    ):
        share.total(own, [(), ()])


def test_an_ordinary_stream_is_sharded_over_nothing():
    assert sharded_over(torch.zeros(3)) == ()
