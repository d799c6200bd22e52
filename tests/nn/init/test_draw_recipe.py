import pytest
import torch
from torch import nn

from cases_families import family
from isometry.nn.init.draw_recipe import Fill, factors, fills
from isometry.nn.roles.follow import followed
from isometry.nn.roles.recipes import recipe_of


def of(name, recipe, **options):
    return fills(followed(*family(name)), recipe_of(recipe), **options)


def test_maps_that_write_the_stream_get_the_factor_for_depth():
    made = of("GPT2", "gpt2")
    assert made["h.0.mlp.c_fc.weight"] == Fill(std=0.02)
    assert made["h.0.mlp.c_proj.weight"].std == pytest.approx(0.02 / 8**0.5)
    assert made["wte.weight"] == made["wpe.weight"] == Fill(std=0.02)
    assert made["ln_f.weight"] == Fill(value=1.0)
    assert made["h.0.mlp.c_fc.bias"] == Fill()


def test_a_factor_by_the_layer_s_number_is_of_that_layer():
    made = of("Llama", "llama-depth")
    for layer in range(4):
        std = made[f"layers.{layer}.mlp.down_proj.weight"].std
        assert std == pytest.approx(0.02 / (2 * (layer + 1)) ** 0.5)


def test_queries_are_smaller_by_the_size_of_a_head():
    made = of("T5", "t5")
    query, key = (
        made[f"encoder.block.0.layer.0.SelfAttention.{which}.weight"].std for which in "qk"
    )
    assert key == pytest.approx(48**-0.5)
    assert query == pytest.approx(key / 12**0.5)


def test_parts_of_a_fused_map_have_sizes_of_their_own():
    made = of("GPT2", "mup-like")["h.0.attn.c_attn.weight"]
    assert made.axis == 1  # GPT-2 stores (in, out)
    key = 48**-0.5
    assert factors(made) == pytest.approx([key / 12**0.5] * 48 + [key] * 96)


def test_a_gain_that_is_added_to_one_starts_at_nothing():
    assert of("Gemma", "llama")["layers.0.input_layernorm.weight"] == Fill(value=0.0)
    assert of("Llama", "llama")["layers.0.input_layernorm.weight"] == Fill(value=1.0)


def test_a_bank_of_experts_is_drawn_by_the_fan_in_of_one():
    made = of("Mixtral", "he")
    assert made["layers.0.mlp.experts.down_proj"].std == pytest.approx((2 / 96) ** 0.5)
    assert made["layers.0.mlp.gate.weight"].std == pytest.approx((2 / 48) ** 0.5)


def test_what_is_kept_is_left_out():
    made = of("Llama", "llama", keep=["layers.*.mlp.*", "norm.weight"])
    assert "norm.weight" not in made
    assert not any(".mlp." in name for name in made)
    assert "layers.0.self_attn.q_proj.weight" in made


def test_queries_that_nobody_sees_are_refused():
    class Scores(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x):
            return x + self.a(x)

    with pytest.raises(ValueError, match="`x` is None, but the recipe 't5'"):
        fills(followed(Scores(), None), recipe_of("t5"))
    assert fills(followed(Scores(), torch.ones(1, 4)), recipe_of("t5"))["a.weight"].std == 0.5
