import math
from itertools import product

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn

from cases_families import family
from cases_shards import IDS, Tokens, pretending, shard
from isometry.nn.init.draw import draw_
from isometry.nn.linting.lint import lint
from isometry.nn.sandbox.shards import held_indices

MESHES = [{"dp": 1}, {"dp": 2}, {"tp": 2}, {"dp": 4}, {"dp": 2, "tp": 2}, {"dp": 32},
          {"dp": 8, "tp": 4}]  # fmt: skip


def whole(recipe="gpt2", seed=0):
    return dict(draw_(Tokens(), recipe, seed, x=IDS).named_parameters())


def pieces(sizes, rank):
    """Draw on one rank of a mesh; return each parameter's shard and the places that it is of."""
    world = math.prod(sizes.values())
    with pretending(rank, world):
        model = draw_(shard(Tokens(), sizes), "gpt2", 0, x=IDS)
        return {
            name: (p.to_local().detach().clone(), held_indices(p))
            for name, p in model.named_parameters()
            if hasattr(p, "to_local")
        } | {
            name: (p.detach().clone(), [None] * p.ndim)
            for name, p in model.named_parameters()
            if not hasattr(p, "to_local")
        }


def cut(full, places):
    grids = [
        np.arange(n) if own is None else own for n, own in zip(full.shape, places, strict=True)
    ]
    return full.detach()[np.ix_(*grids)]


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_every_rank_of_every_mesh_has_its_part_of_the_same_tensors(sizes):
    world = math.prod(sizes.values())
    full = whole()
    seen = {name: torch.zeros(p.shape, dtype=torch.int) for name, p in full.items()}
    for rank in sorted({0, 1 % world, world // 2, world - 1}) if world > 4 else range(world):
        for name, (local, places) in pieces(sizes, rank).items():
            assert torch.equal(local, cut(full[name], places)), name
            grids = [
                range(n) if o is None else o for n, o in zip(seen[name].shape, places, strict=True)
            ]
            for place in product(*grids):
                seen[name][place] += 1
    if world <= 4:
        assert all(bool((count > 0).all()) for count in seen.values())


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [{"dp": 2}, {"tp": 2}, {"dp": 2, "tp": 2}], ids=str)
def test_real_processes_gather_the_same_tensors(sizes, tmp_path):
    world = math.prod(sizes.values())
    torch.multiprocessing.spawn(gathered, (sizes, tmp_path), nprocs=world)
    for rank in range(world):
        found = load_file(tmp_path / f"{rank}.safetensors")
        for name, p in whole().items():
            assert torch.equal(found[name], p), (rank, name)


def gathered(rank, sizes, folder):
    dist.init_process_group(
        "gloo", f"file://{folder / 'store'}", rank=rank, world_size=math.prod(sizes.values())
    )
    model = draw_(shard(Tokens(), sizes), "gpt2", 0, x=IDS)
    full = {name: getattr(p, "full_tensor", p.detach)() for name, p in model.named_parameters()}
    save_file(full, folder / f"{rank}.safetensors")
    dist.destroy_process_group()


def test_a_rank_that_draws_from_the_start_of_its_own_shard_would_be_noticed():
    full = whole()
    local, places = pieces({"dp": 2}, 1)["layers.0.up.weight"]
    assert not torch.equal(local, full["layers.0.up.weight"][: len(local)])
    assert torch.equal(local, cut(full["layers.0.up.weight"], places))


def test_meta_and_materialised_models_get_the_same_tensors():
    with torch.device("meta"):
        model = Tokens()
    drawn = dict(draw_(model, "gpt2", 0, x=IDS).named_parameters())
    for name, p in whole().items():
        assert torch.equal(drawn[name], p), name
        assert not drawn[name].is_meta
        assert drawn[name].requires_grad


def test_tied_weights_on_the_meta_device_stay_tied():
    with torch.device("meta"):
        model = Tokens()
        model.head.weight = model.embed.weight
    draw_(model, "bert", 0, x=IDS)
    assert model.head.weight is model.embed.weight


def test_another_seed_and_another_name_give_other_numbers():
    one, other = whole(seed=0), whole(seed=1)
    assert not torch.equal(one["layers.0.up.weight"], other["layers.0.up.weight"])
    assert not torch.equal(one["layers.0.up.weight"], one["layers.1.up.weight"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_every_type_gets_the_same_numbers_rounded(dtype):
    drawn = draw_(Tokens().to(dtype), "gpt2", 0, x=IDS)
    for name, p in whole().items():
        assert torch.equal(drawn.get_parameter(name), p.to(dtype)), name


def test_a_parameter_that_is_not_contiguous_gets_the_same_numbers():
    layer = nn.Linear(5, 7)
    expected = draw_(nn.Linear(5, 7), "llama", 0).weight
    layer.weight = nn.Parameter(torch.empty(5, 7).T)
    assert torch.equal(draw_(layer, "llama", 0).weight, expected)


def test_what_is_no_map_starts_as_it_should():
    model = draw_(Tokens(), "gpt2", 0, x=IDS)
    assert bool((model.layers[0].norm.weight == 1).all())
    assert not model.layers[0].up.bias.any()
    assert not model.embed.weight[0].any()
    assert model.embed.weight[1].any()


RECIPES = [("GPT2", "gpt2"), ("Llama", "llama-depth"), ("T5", "t5"), ("Gemma", "llama"),
           ("OPT", "mup-like"), ("ViT", "vit"), ("Mixtral", "llama"), ("Bert", "bert")]  # fmt: skip


@pytest.mark.parametrize(("name", "recipe"), RECIPES)
def test_lint_finds_a_drawn_model_at_its_recipe(name, recipe):
    model, x = family(name)
    draw_(model, recipe, 0, x=x)
    report = lint(model, x, recipe=recipe)
    assert report.of("error") == report.of("warning") == ()


def test_lint_finds_one_map_that_is_drawn_five_percent_too_large():
    model, x = family("Llama")
    draw_(model, "llama", 0, x=x)
    with torch.no_grad():
        for layer in model.layers:
            layer.mlp.up_proj.weight *= 1.1
    assert lint(model, x, recipe="llama").of("error")


def test_the_standard_deviation_of_a_large_map_is_the_law_s():
    layer = draw_(nn.Linear(1000, 1000), {"roles": {"reader": {"std": 0.02}, "writer": {}}}, 0,
                  x=torch.ones(1, 1000))  # fmt: skip
    error = 0.02 / math.sqrt(2e6)
    assert abs(float(layer.weight.detach().std()) - 0.02) < 5 * error


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.full((3,), 0.5))
        self.map = nn.Linear(3, 3)

    def forward(self, x):
        return x + self.gate * self.map(x)


def test_what_a_recipe_does_not_speak_of_is_refused_or_kept():
    model, x = Gated(), torch.ones(2, 3)
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match=r"says nothing of 'gate' .*`keep=\['gate'\]`"):
        draw_(model, "llama", 0, x=x)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    draw_(model, "llama", 0, x=x, keep=["gate"])
    assert torch.equal(model.gate, before["gate"])
    assert not torch.equal(model.map.weight, before["map.weight"])


def test_a_recipe_that_only_a_pass_tells_apart_asks_for_an_input():
    with pytest.raises(ValueError, match=r"`x` is None, but the recipe 'gpt2' tells maps apart"):
        draw_(Tokens(), "gpt2", 0)


def test_sharded_weights_without_storage_are_refused():
    with pretending(0, 2), torch.device("meta"):
        model = shard(Tokens(), {"dp": 2})
        with pytest.raises(ValueError, match="sharded and on the meta device"):
            draw_(model, "llama", 0)


@pytest.mark.parametrize("seed", [True, 0.5, "a", -1])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises((TypeError, ValueError), match="`seed` is"):
        draw_(nn.Linear(2, 2), "llama", seed)


def test_a_function_is_refused():
    with pytest.raises(TypeError, match="`model` is a builtin_function_or_method"):
        draw_(torch.tanh, "llama", 0)
