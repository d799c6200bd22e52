import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model

from isometry.cli.load import key_of, load_checkpoint, load_input, load_inputs, load_model

MODULE = """
from torch import nn

def make():
    return nn.Linear(3, 2)

def sized(n):
    return nn.Linear(n, n)

class Own(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

ready = nn.Linear(4, 4)
number = 3

def nothing():
    return None
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "models_to_load.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "models_to_load", raising=False)
    yield tmp_path
    sys.modules.pop("models_to_load", None)


@pytest.mark.parametrize(("name", "width"), [("make", 3), ("ready", 4), ("Own", 2)])
def test_a_function_a_class_and_a_module_give_a_model(name, width, folder):
    assert load_model(f"models_to_load:{name}").in_features == width


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sized", "needs arguments .*'n'"),
        ("number", "a int; expected a function"),
        ("nothing", "gives a NoneType; expected a module"),
    ],
)
def test_what_gives_no_model_is_refused(name, message, folder):
    with pytest.raises(TypeError, match=message):
        load_model(f"models_to_load:{name}")


def test_an_input_is_read_from_three_kinds_of_file(folder):
    x = torch.arange(6.0).reshape(1, 6)
    torch.save(x, "x.pt")
    np.save("x.npy", x.numpy())
    save_file({"x": x}, "x.safetensors")
    for name in ("x.pt", "x.npy", "x.safetensors"):
        torch.testing.assert_close(load_input(name), x)


def test_several_inputs_come_from_several_files_or_by_name_from_one(folder):
    x, t = torch.arange(6.0).reshape(1, 6), torch.tensor([3])
    torch.save(x, "x.pt")
    np.save("t.npy", t.numpy())
    save_file({"x": x, "t": t}, "both.safetensors")
    torch.save((x, t), "both.pt")
    assert torch.equal(load_inputs(["x.pt"]), x)
    for found in (load_inputs(["x.pt", "t.npy"]), load_inputs(["both.pt"])):
        assert isinstance(found, tuple)
        assert torch.equal(found[0], x)
        assert torch.equal(found[1], t)
    named = load_inputs(["both.safetensors"])
    assert set(named) == {"x", "t"}
    assert torch.equal(named["x"], x)
    with pytest.raises(TypeError, match="which holds 2 entries; expected one tensor"):
        load_inputs(["x.pt", "both.pt"])
    torch.save({"x": x, "more": {"t": t}}, "deep.pt")
    with pytest.raises(TypeError, match="2 entries; expected tensors, by name or in order"):
        load_inputs(["deep.pt"])


@pytest.mark.parametrize(("word", "key"), [("x", "x"), ("1", 1), ("-1", -1), (None, None)])
def test_a_number_is_a_place_and_a_word_a_name(word, key):
    assert key_of(word) == key


def test_a_file_that_is_no_input_is_refused(folder):
    torch.save({"a": torch.ones(1), "b": torch.ones(1)}, "two.pt")
    Path("x.png").write_bytes(b"")
    Path("cut.pt").write_bytes(b"PK")
    with pytest.raises(TypeError, match=r"`--input` is two\.pt, which holds 2 entries"):
        load_input("two.pt")
    with pytest.raises(ValueError, match="Save images as a tensor first"):
        load_input("x.png")
    with pytest.raises(ValueError, match=r"`--input` is cut\.pt, which cannot be read"):
        load_input("cut.pt")
    with pytest.raises(FileNotFoundError, match=r"`--input` is no\.pt"):
        load_input("no.pt")


def saved(state, name):
    (save_file if name.endswith(".safetensors") else torch.save)(state, name)
    return Path(name)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.safetensors"])
def test_a_checkpoint_is_put_into_the_model(name, folder):
    source, target = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    load_checkpoint(target, saved(source.state_dict(), name))
    torch.testing.assert_close(target.weight, source.weight)
    load_checkpoint(target, None)
    torch.testing.assert_close(target.weight, source.weight)


def test_a_checkpoint_may_be_nested_and_come_from_data_parallelism(folder):
    source, target = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    state = {f"module.{key}": value for key, value in source.state_dict().items()}
    load_checkpoint(target, saved({"epoch": 3, "state_dict": state}, "w.pt"))
    torch.testing.assert_close(target.weight, source.weight)


def test_a_checkpoint_of_tied_weights_has_one_of_their_names(folder):
    """As safetensors writes it, and `isometry init --save` with it."""

    def tied():
        model = torch.nn.Sequential(torch.nn.Embedding(4, 3), torch.nn.Linear(3, 4, bias=False))
        model[1].weight = model[0].weight
        return model

    source, target = tied(), tied()
    save_model(source, "w.safetensors")
    load_checkpoint(target, Path("w.safetensors"))
    assert torch.equal(target[0].weight, source[0].weight)
    assert target[1].weight is target[0].weight
    apart = torch.nn.Sequential(torch.nn.Embedding(4, 3), torch.nn.Linear(3, 4, bias=False))
    with pytest.raises(ValueError, match="weight is missing"):
        load_checkpoint(apart, Path("w.safetensors"))


class Explosive:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_nothing_in_a_checkpoint_is_executed(folder):
    torch.save({"weight": Explosive()}, "w.pt")
    with pytest.raises(ValueError, match="cannot be read without executing it"):
        load_checkpoint(torch.nn.Linear(3, 3), Path("w.pt"))
    assert not (folder / "exploded").exists()


def test_a_checkpoint_of_another_model_changes_nothing(folder):
    model = torch.nn.Linear(3, 3)
    before = model.weight.detach().clone()
    other = saved(torch.nn.Linear(4, 3, bias=False).state_dict(), "w.pt")
    with pytest.raises(
        ValueError, match=r"bias is missing; weight has shape \(3, 4\), not \(3, 3\)"
    ):
        load_checkpoint(model, other)
    assert torch.equal(model.weight, before)
    with pytest.raises(TypeError, match="expected tensors by name"):
        load_checkpoint(model, saved([torch.ones(3)], "list.pt"))
    with pytest.raises(TypeError, match=r"a torch\.nn\.Module to put the weights into"):
        load_checkpoint(lambda x: x, other)
