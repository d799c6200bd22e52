import pytest
import torch
from safetensors.torch import save_file

from cases_streaming import shards, whole
from isometry.nn.init.draw_recipe import Fill
from isometry.nn.scale.streaming.supply import Blind, Drawn, stored


@pytest.mark.parametrize("prefix", ["", "model.", "transformer.model."])
def test_weights_are_read_under_their_own_or_a_longer_name(tmp_path, prefix):
    model = whole()
    places = stored(shards(model, tmp_path, prefix), shapes(model), {}, {})
    for name, p in model.named_parameters():
        read = torch.empty_like(p)
        places(name, read)
        assert torch.equal(read, p)


def shapes(model):
    return {name: p.shape for name, p in model.named_parameters()}


def test_weights_are_read_under_a_shorter_name(tmp_path):
    model = whole()
    longer = {f"model.{k}": s for k, s in shapes(model).items()}
    found = stored(shards(model, tmp_path, ""), longer, {}, {})
    assert found.places["model.embed.weight"][1] == "embed.weight"


def test_weights_are_converted_to_the_model_s_type(tmp_path):
    model = whole().to(torch.bfloat16)
    places = stored(shards(model, tmp_path), shapes(model), {}, {})
    read = torch.empty(model.embed.weight.shape)
    places("embed.weight", read)
    assert torch.equal(read, model.embed.weight.float())


def test_weights_that_do_not_fit_are_named_before_the_work(tmp_path):
    folder = shards(whole(), tmp_path)
    with pytest.raises(ValueError, match=r"more\.weight is missing"):
        stored(folder, {"more.weight": (3, 3)}, {}, {})
    with pytest.raises(ValueError, match=r"embed\.weight has shape \(19, 22\), not \(3, 3\)"):
        stored(folder, {"embed.weight": (3, 3)}, {}, {})


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_codes_of_quantised_weights_are_refused(tmp_path, kind):
    save_file({"map.weight": torch.ones(2, 3).to(kind)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"map\.weight and 0 more are quantised .* save it in bf"):
        stored(tmp_path, {"map.weight": (2, 3)}, {}, {})


def test_buffers_may_be_missing_but_not_of_another_shape(tmp_path):
    save_file({"norm.mean": torch.ones(2)}, tmp_path / "a.safetensors")
    found = stored(tmp_path, {}, {"norm.mean": (2,), "norm.count": ()}, {})
    assert list(found.places) == ["norm.mean"]
    with pytest.raises(ValueError, match=r"norm\.mean has shape \(2,\), not \(3,\)"):
        stored(tmp_path, {}, {"norm.mean": (3,)}, {})


def test_a_name_that_ends_several_is_none_of_them(tmp_path):
    two = {f"{side}.map.weight": torch.ones(2, 3) for side in ("encoder", "decoder")}
    save_file(two, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"map\.weight is missing"):
        stored(tmp_path, {"map.weight": (2, 3)}, {}, {})
    assert stored(tmp_path, {"decoder.map.weight": (2, 3)}, {}, {}).places


def test_folders_without_weights_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a folder with files that end in"):
        stored(tmp_path, {}, {}, {})
    (tmp_path / "a.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"`weights` has a\.safetensors, which cannot be read"):
        stored(tmp_path, {}, {}, {})


def test_a_draw_leaves_what_no_law_speaks_of():
    drawn, kept = torch.full((3,), 5.0), torch.full((3,), 5.0)
    supply = Drawn(0, {"a": Fill(std=1.0)})
    supply("a", drawn)
    supply("b", kept)
    assert not torch.equal(drawn, kept)
    assert bool((kept == 5).all())


def test_blind_weights_fill_what_has_none():
    drawn, kept = torch.full((300,), 5.0), torch.full((3,), 5.0)
    supply = Blind(frozenset({"a"}))
    supply("a", drawn)
    supply("b", kept)
    assert 0.01 < float(drawn.std()) < 0.03
    assert bool((kept == 5).all())


def test_a_tied_parameter_is_read_under_any_of_its_names(tmp_path):
    save_file({"head.weight": torch.ones(2, 3)}, tmp_path / "a.safetensors")
    names = {"embed.weight": ["embed.weight", "head.weight"]}
    found = stored(tmp_path, {"embed.weight": (2, 3)}, {}, names)
    assert found.places["embed.weight"][1] == "head.weight"
