import importlib.util
import json
import sys
import types

import pytest
import torch
from torch import nn

from cases_cli import run
from isometry.cli.load import load_model
from isometry.cli.named import hf_config, named_model

SMALL = {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 32}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder, **changes):
    (folder / "config.json").write_text(json.dumps(SMALL | changes))


def without(monkeypatch, package):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def stand_in(monkeypatch, package, place, build):
    """Put a module in the place of a package: it lists one model and builds it by ``build``."""
    models = types.SimpleNamespace(list_models=lambda: ["resnet18"], **{build.__name__: build})
    if place != package:
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    monkeypatch.setitem(sys.modules, place, models)


def create_model(name, *, pretrained):
    assert not pretrained
    return nn.Sequential(nn.Linear(3, 3), nn.Dropout())


def get_model(name, *, weights):
    assert weights is None
    return nn.Sequential(nn.Linear(3, 3), nn.Dropout())


PACKAGES = [("timm", "timm", create_model), ("torchvision", "torchvision.models", get_model)]


@pytest.mark.parametrize(("package", "place", "build"), PACKAGES)
def test_a_package_builds_its_model_without_weights_to_load(package, place, build, monkeypatch):
    stand_in(monkeypatch, package, place, build)
    before = torch.get_rng_state()
    first, again = (load_model(f"{package}:resnet18") for _ in range(2))
    assert torch.equal(first[0].weight, again[0].weight)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in first.modules())
    with pytest.raises(ValueError, match=r"resnet81'; expected a name .* Did you mean 'resnet18'?"):
        load_model(f"{package}:resnet81")


@pytest.mark.parametrize("package", ["timm", "torchvision", "transformers"])
def test_an_absent_package_is_named_in_one_sentence(package, monkeypatch, capsys):
    without(monkeypatch, package)
    prefix = "hf" if package == "transformers" else package
    status, out, err = run(f"lint {prefix}:resnet18", capsys)
    assert (status, out) == (2, "")
    assert err == (
        f"error: `MODEL` is '{prefix}:resnet18', which needs {package}; "
        f"run `pip install {package}`.\n"
    )


def test_what_a_package_itself_misses_is_not_taken_for_the_package(monkeypatch):
    finder = types.SimpleNamespace(
        find_spec=lambda name, *_: (
            importlib.util.spec_from_loader(name, types.SimpleNamespace(
                create_module=lambda _: None, exec_module=lambda _: __import__("no_such_part")
            )) if name == "timm" else None
        )
    )  # fmt: skip
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    with pytest.raises(ModuleNotFoundError, match="no_such_part"):
        named_model("timm:resnet18")


@pytest.mark.parametrize("reference", ["net:make", "net.py:make", "net"])
def test_other_references_are_left_to_modules_and_files(reference):
    assert named_model(reference) is None


@pytest.mark.parametrize("place", ["hf:config.json", "hf:."])
def test_a_configuration_is_read_from_its_file_or_folder(place, folder):
    pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    written(folder)
    model = load_model(place)
    assert type(model).__name__ == "GPT2Model"
    assert model.wte.weight.shape == (32, 16)
    assert not model.training


def test_the_class_a_configuration_names_is_built_and_in_float32(folder):
    pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    written(folder, architectures=["GPT2LMHeadModel"], dtype="bfloat16")
    assert type(load_model("hf:config.json")).__name__ == "GPT2LMHeadModel"
    written(folder, dtype="bfloat16")
    assert {p.dtype for p in load_model("hf:config.json").parameters()} == {torch.float32}


def test_a_model_type_has_its_default_configuration_and_may_be_built_of_nothing():
    pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    assert hf_config("gpt2").n_embd == 768
    with torch.device("meta"):
        model = load_model("hf:gpt2")
    assert {p.device.type for p in model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("gtp2", ValueError, "expected a model type, or a local config.json. Did you mean 'gpt2'?"),
        ("no.json", FileNotFoundError, r"'hf:no\.json' but there is no file no\.json"),
        (".", FileNotFoundError, r"there is no file config\.json"),
        ("cut.json", ValueError, r"cut\.json is no configuration"),
        ("list.json", ValueError, r"list\.json is no configuration"),
        ("other.json", ValueError, r"other\.json is no configuration .*KeyError"),
    ],
)
def test_what_is_no_configuration_is_refused(name, error, message, folder):
    pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    (folder / "cut.json").write_text('{"model_type": "gp')
    (folder / "list.json").write_text("[1]")
    (folder / "other.json").write_text('{"model_type": "gpt9"}')
    with pytest.raises(error, match=message):
        load_model(f"hf:{name}")


def test_code_of_a_configuration_s_own_is_not_run(folder):
    pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    (folder / "modeling_own.py").write_text("open('run', 'w').close()\n")
    written(folder, auto_map={"AutoModel": "modeling_own.Own", "AutoConfig": "modeling_own.Own"})
    assert type(load_model("hf:.")).__name__ == "GPT2Model"
    assert not (folder / "run").exists()


def test_a_named_model_of_token_ids_is_diagnosed(folder, capsys):
    pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    written(folder)
    torch.save(torch.arange(6).reshape(1, 6), "ids.pt")
    status, printed, _ = run("diagnose hf:config.json --input ids.pt --json", capsys)
    assert status == 0
    assert [block["name"] for block in json.loads(printed)["blocks"]] == [
        "h.0.attn", "h.0.mlp", "h.1.attn", "h.1.mlp",
    ]  # fmt: skip
