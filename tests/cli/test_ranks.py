import pytest
import torch
from torch import nn

from isometry.cli.ranks import batch_of, joined, load, sizes_of, takes_mesh
from isometry.nn.scale.share import Part, Share


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 3)


def halves(axis=0):
    return Share((Part("dp", None, axis, 1, 2),))


def test_names_and_numbers_are_read():
    assert sizes_of("--mesh", "dp=2, tp=4") == {"dp": 2, "tp": 4}
    assert sizes_of("--mesh", None) == {}
    with pytest.raises(ValueError, match=r"`--mesh` is 'dp'; expected names and numbers"):
        sizes_of("--mesh", "dp")


def test_tokens_are_the_models_and_shared_out():
    whole, _ = batch_of("tokens:4x5", Model(), Share(), 0)
    own, share = batch_of("tokens:4x5", Model(), halves(), 0)
    assert whole.shape == (4, 5)
    assert whole.max() < 7
    assert torch.equal(own, whole[2:])
    assert share.parts[0].axis == 0


def test_one_sequence_for_each_rank_is_drawn_without_numbers():
    own, _ = batch_of("tokens", Model(), halves(), 0)
    assert own.shape == (1, 64)


def test_a_batch_that_cannot_be_shared_out_is_everybodys():
    own, share = batch_of("tokens:3x5", Model(), halves(), 0)
    assert own.shape == (3, 5)
    assert share.parts[0].axis is None


def test_inputs_of_several_tensors_are_shared_out_alike(tmp_path):
    torch.save({"ids": torch.arange(4), "mask": torch.ones(4, 2)}, tmp_path / "x.pt")
    own, _ = batch_of(str(tmp_path / "x.pt"), Model(), halves(), 0)
    assert own["ids"].tolist() == [2, 3]
    assert own["mask"].shape == (2, 2)


def test_a_function_says_whether_it_takes_the_mesh(tmp_path, monkeypatch):
    (tmp_path / "both.py").write_text(
        "from torch import nn\ndef plain(): return nn.Linear(1, 1)\n"
        "def on(mesh): return nn.Linear(1, 1)\nready = nn.Linear(1, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert takes_mesh("both.py:on")
    assert not takes_mesh("both.py:plain")
    assert not takes_mesh("both.py:ready")
    assert not takes_mesh("hf:gpt2")


def test_a_process_of_its_own_has_no_mesh(monkeypatch, tmp_path):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    (tmp_path / "alone.py").write_text("from torch import nn\ndef make(): return nn.Linear(2, 2)\n")
    monkeypatch.chdir(tmp_path)
    with joined({}, 10.0) as place:
        assert (place.rank, place.mesh) == (0, None)
        assert place.share(None).parts == ()
        with torch.random.fork_rng():
            one, other = (load("alone.py:make", place, 3).weight for _ in range(2))
    assert torch.equal(one, other)
