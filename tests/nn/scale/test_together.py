import pytest
import torch
from torch import distributed

from isometry.nn.scale.together import together

LOST = "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:29311"


@pytest.fixture
def group(monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 4)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(LOST),
        RuntimeError("Timed out waiting 5000ms for recv operation to complete"),
        distributed.DistBackendError("anything"),
    ],
)
@pytest.mark.usefixtures("group")
def test_a_lost_rank_is_one_sentence(error):
    said = r"Rank 1 of 4 lost the others.*start all of them again"
    with pytest.raises(RuntimeError, match=said), together():
        raise error


@pytest.mark.usefixtures("group")
def test_a_failure_of_the_model_stays_what_it_is():
    with pytest.raises(RuntimeError, match="mat1 and mat2"), together():
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_a_single_process_has_lost_nobody():
    with pytest.raises(RuntimeError, match="Connection closed"), together():
        raise RuntimeError(LOST)
