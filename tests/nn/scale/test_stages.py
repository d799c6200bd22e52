import pytest
import torch
from torch import distributed, nn

from isometry.nn.scale.stages import check_stages, modules_of, receive, send, stage_index


class Stage:
    num_stages = 5

    def __init__(self, index):
        self.submod, self.stage_index = nn.Linear(index + 1, 1), index


def test_stages_come_in_the_order_of_the_model():
    assert [m.in_features for m in modules_of([Stage(4), Stage(1)])] == [2, 5]
    assert stage_index(Stage(4)) == 4
    assert stage_index(nn.Linear(1, 1)) is None


@pytest.mark.parametrize(("model", "kind"), [(3, "int"), ([], "list without an entry")])
def test_what_is_no_model_is_refused(model, kind):
    with pytest.raises(TypeError, match=rf"`model` is a {kind}.*PipelineStage"):
        modules_of(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_stream_arrives_as_it_was_sent(monkeypatch, dtype):
    line = []
    monkeypatch.setattr(distributed, "send", lambda t, group, group_dst: line.append(t))
    monkeypatch.setattr(distributed, "recv", lambda t, group, group_src: t.copy_(line.pop(0)))
    stream = torch.randn(2, 3, 4).to(dtype).transpose(1, 2)
    send(None, 1, 7, stream)
    layers, arrived = receive(None, 0, torch.device("cpu"))
    assert layers == 7
    assert arrived.dtype == dtype
    assert torch.equal(arrived, stream)
    assert not line


def test_a_stage_that_returns_no_tensor_is_refused():
    with pytest.raises(TypeError, match=r"stage returns a tuple; expected one plain tensor"):
        send(None, 1, 0, (torch.ones(1),))


def test_a_model_without_values_is_refused():
    with pytest.raises(ValueError, match=r"`model` has 0\.weight and maybe .*`model\.to_empty\("):
        modules_of(nn.Sequential(nn.Linear(2, 2, device="meta")))


def test_stages_and_a_mesh_of_stages_belong_together():
    check_stages(nn.Linear(1, 1), staged=False)
    check_stages([Stage(0), Stage(3)], staged=True)
    check_stages([Stage(i) for i in range(5)], staged=False)
    with pytest.raises(ValueError, match=r"is a Linear and the mesh has pipeline stages, \"pp\""):
        check_stages(nn.Linear(1, 1), staged=True)
    with pytest.raises(
        ValueError, match=r"is 2 of 5 pipeline stages and the mesh has no dimension"
    ):
        check_stages([Stage(0), Stage(3)], staged=False)
