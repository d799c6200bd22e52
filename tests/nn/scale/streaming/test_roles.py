import pytest
import torch
from torch import nn

from cases_families import family
from cases_streaming import IDS, bare, whole
from isometry.nn.init.draw_recipe import Fill, fills
from isometry.nn.roles.follow import followed
from isometry.nn.roles.recipes import recipe_of
from isometry.nn.scale.streaming.layers import layers_of
from isometry.nn.scale.streaming.loans import first_names
from isometry.nn.scale.streaming.measure import LayerCall
from isometry.nn.scale.streaming.roles import Roles


def roles_of(model, recipe):
    return Roles(recipe_of(recipe), layers_of(model, None), first_names(model))


@pytest.mark.parametrize("recipe", ["gpt2", "llama-depth", "mup-like", "he"])
def test_one_layer_shows_what_the_whole_model_does(recipe):
    model = bare()
    roles, s = roles_of(model, recipe), torch.ones(1, 6, 22)
    made = {}
    with torch.no_grad():
        for name, layer in model.layers.named_children():
            made |= roles.inside(LayerCall(layer, f"layers.{name}", (s,), {}))
    for module in (model.embed, model.head):
        made |= roles.outside(module)
    assert made == fills(followed(whole(), IDS), recipe_of(recipe))


def test_the_experts_of_a_mixture_are_seen():
    model, _ = family("Mixtral")
    model.eval()
    s = torch.randn(1, 5, 48, generator=torch.Generator().manual_seed(0))
    rotation = model.rotary_emb(s, torch.arange(5)[None])
    call = LayerCall(model.layers[0], "layers.0", (s,), {"position_embeddings": rotation,
                     "attention_mask": None, "position_ids": None})  # fmt: skip
    with torch.no_grad():
        made = roles_of(model, "gpt2").inside(call)
    assert made["layers.0.mlp.experts.down_proj"].std == pytest.approx(0.02 / 8**0.5)
    assert made["layers.0.mlp.gate.weight"] == Fill(std=0.02)


def test_a_layer_is_followed_once_for_each_kind(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "isometry.nn.scale.streaming.roles.followed", lambda *a: calls.append(a) or followed(*a)
    )
    model = bare()
    roles = roles_of(model, "gpt2")
    with torch.no_grad():
        for name, layer in model.layers.named_children():
            roles.inside(LayerCall(layer, f"layers.{name}", (torch.ones(1, 6, 22),), {}))
    assert len(calls) == 1


def test_padding_stays_zero_outside_the_layers():
    model = bare()
    assert roles_of(model, "gpt2").outside(model.embed)["embed.weight"].blank == 0


def test_a_parameter_without_law_or_values_is_refused():
    model = bare()
    model.register_parameter("scale", nn.Parameter(torch.empty(3, device="meta")))
    with pytest.raises(ValueError, match="says nothing of 'scale'"):
        roles_of(model, "gpt2").outside(model)
