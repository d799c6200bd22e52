import re

import pytest
import torch
from torch import nn

from cases_lint import decoder, named
from isometry import nn as inn
from isometry.nn.roles.recipes import RECIPES, Recipe, RoleLaw, recipe_of


def test_every_recipe_has_a_source_and_a_law_for_what_reads_and_writes():
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert len(recipe.source) > 10
        assert recipe.law("gate") is recipe.law("reader") is not None
        assert recipe.law("writer") is not None


def test_a_law_gives_a_standard_deviation_by_fans_and_depth():
    assert RECIPES["gpt2"].law("writer").value((768, 768), 12, 3) == pytest.approx(0.02 / 24**0.5)
    by_number = RECIPES["llama-depth"].law("writer").value((64, 64), 12, 3)
    assert by_number == pytest.approx(0.02 / 8**0.5)
    assert RECIPES["he"].law("inner").value((50, 9), 1, 0) == pytest.approx(0.2)
    assert RECIPES["torch default"].law("reader").value((3, 9), 1, 0) == pytest.approx(1 / 3)
    assert RECIPES["completep-like"].law("writer").value((4, 4), 8, 0) == pytest.approx(1 / 16)


def test_recipes_come_by_name_from_a_dictionary_or_a_file(tmp_path):
    table = {"roles": {"reader": {"std": 0.02}, "writer": {"std": 0.02, "depth": "1/L"}}}
    path = tmp_path / "mine.toml"
    path.write_text('[roles.reader]\nstd = 0.02\n[roles.writer]\nstd = 0.02\ndepth = "1/L"\n')
    assert recipe_of("GPT2") is RECIPES["gpt2"]
    assert recipe_of(table).roles == recipe_of(path).roles == recipe_of(str(path)).roles
    assert recipe_of(path).name == "mine"
    own = Recipe("own", "me", {"reader": RoleLaw(0.1)})
    assert recipe_of(own) is own


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("gtp2", "Did you mean 'gpt2'?"),
        ({"roles": {"reader": {"stdd": 1}}}, "expected std, fan_in"),
        ({"roles": {"reader": {"depth": "L"}}}, "expected one of '1', '1/sqrt(2L)'"),
        ({"roles": {"reader": {"std": "a"}}}, "expected a finite number"),
        ({"roles": {"bias": {"fan_in": -0.5}}}, "has no fan; expected its standard deviation"),
        ({"roles": 3}, "laws by role"),
        (3, "expected a name, a dictionary or a .toml file"),
        ("absent.toml", "which cannot be read"),
    ],
)
def test_what_is_no_recipe_is_refused_in_a_sentence(recipe, said):
    with pytest.raises((ValueError, TypeError), match=re.escape(said)):
        recipe_of(recipe)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"reader": {"std": 0}}, "expected"),
        ({"reader": {"std": -0.02}}, "expected"),
        ({"reader": {"std": 0.02}, "wirter": {"std": 0.02}}, "Did you mean 'writer'?"),
    ],
)
def test_a_size_that_is_none_and_a_role_that_is_none_are_refused(table, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        recipe_of({"roles": table})


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="which cannot be read"):
        recipe_of(tmp_path / "mine.toml")


def test_a_map_of_unknown_place_has_a_law_where_reading_and_writing_have_one():
    assert RECIPES["gpt2"].law("map") is None
    assert RECIPES["bert"].law("map") == RECIPES["bert"].law("reader")
    assert Recipe("own", "me", {"reader": RoleLaw(0.1)}).law("map") == RoleLaw(0.1)


@pytest.mark.parametrize("law", [{"fan_in": 1e9}, {"fan_out": -1e9}, {"fan_sum": 1e308},
                                 {"fan_in": 1e308, "fan_out": -1e308, "fan_sum": 1e308},
                                 {"fan_in": -300}, {"std": 1e-320}])  # fmt: skip
def test_powers_that_make_no_scale_of_weights_are_refused(law):
    known = recipe_of({"roles": {"reader": {"std": 0.02} | law}}).law("reader")
    with pytest.raises(ValueError, match="with fan_in = 32 and fan_out = 64; expected one between"):
        known.value((32, 64), 4, 0)


def test_powers_that_cancel_make_a_scale():
    law = recipe_of({"roles": {"reader": {"std": 0.02, "fan_in": 999, "fan_out": -999}}})
    assert law.law("reader").value((64, 64), 4, 0) == pytest.approx(0.02)


def test_strided_convolutions_follow_torchvisions_rule_by_fan_out():
    def stage(narrow, wide):
        return nn.Sequential(
            nn.Conv2d(narrow, wide, 3, 2, 1, bias=False), nn.ReLU(),
            nn.Conv2d(wide, wide, 3, 1, 1, bias=False),
        )  # fmt: skip

    class Stages(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 16, 3, padding=1)
            self.body = nn.ModuleList(stage(n, 2 * n) for n in (16, 32, 64))
            self.short = nn.ModuleList(nn.Conv2d(n, 2 * n, 1, 2) for n in (16, 32, 64))

        def forward(self, x):
            x = self.stem(x)
            for body, short in zip(self.body, self.short, strict=True):
                x = short(x) + body(x)
            return x

    torch.manual_seed(0)
    model = Stages()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    x = torch.randn(2, 3, 16, 16)
    assert named(inn.lint(model, x, recipe="resnet"), "recipe", "error") == []
    wrong = named(inn.lint(model, x, recipe="he"), "recipe", "error")
    assert {f"body.{i}.0.weight" for i in range(3)} <= set(wrong)


def test_several_inputs_in_place_of_a_recipe_are_told_how_they_go_in():
    x = torch.randn(2, 32)
    with pytest.raises(TypeError, match=r"several inputs go in one tuple"):
        inn.lint(decoder(), x, x)
