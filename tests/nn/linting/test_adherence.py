from cases_lint import DEPTH, LAYERS, STD, decoder, edited, linted, named, redraw, redraw_all
from isometry import nn as inn


def test_the_right_decoder_follows_gpt2_at_its_own_size():
    report = linted(decoder(), recipe="gpt2")
    assert report.worst() == ()
    assert report.recipe.startswith("Recipe: gpt2 fits 7 of 7 kinds, at 3.4")
    assert linted(decoder()).recipe.startswith("Recipe: gpt2 fits 7 of 7 kinds")


def test_depth_scaling_that_never_ran_is_an_error_of_a_recipe():
    def unscaled(i, layer):
        redraw(layer.down.weight, STD, 10 + i)
        redraw(layer.attention.o.weight, STD, 30 + i)

    report = linted(edited(unscaled), recipe="gpt2")
    found = named(report, "recipe", "error")
    assert {name.split(".", 2)[2] for name in found} == {"down.weight", "attention.o.weight"}
    assert len(found) == 2 * LAYERS
    assert linted(edited(unscaled), recipe="bert").worst() == ()


def test_a_rule_by_the_layers_number_is_told_from_one_by_their_count():
    def by_number(i, layer):
        redraw(layer.down.weight, STD / (2 * (i + 1)) ** 0.5, 10 + i)
        redraw(layer.attention.o.weight, STD / (2 * (i + 1)) ** 0.5, 30 + i)

    model = edited(by_number)
    assert linted(model, recipe="llama-depth").worst() == ()
    assert len(named(linted(model, recipe="gpt2"), "recipe", "error")) == 2 * LAYERS
    assert named(linted(decoder(), recipe="llama-depth"), "recipe", "error")


def test_an_own_recipe_fixes_the_size_as_well():
    right = {"roles": {"reader": {"std": STD}, "writer": {"std": STD, "depth": "1/sqrt(2L)"}}}
    assert linted(decoder(), recipe=right).worst() == ()
    tenth = {"roles": {"reader": {"std": 1.1 * STD}}}
    assert len(linted(decoder(), recipe=tenth).worst()) == 5 * LAYERS


def test_the_nearest_recipe_is_named_with_what_does_not_fit():
    def he(i, layer):
        redraw_all(layer, lambda m, _: (2 / m.in_features) ** 0.5, i)

    assert linted(edited(he)).recipe.startswith("Recipe: he fits 7 of 7")
    report = linted(edited(lambda i, layer: redraw(layer.up.weight, STD * DEPTH, i)))
    assert "not `layers.*.up.weight`" in report.recipe


def test_a_recipe_without_roles_says_so():
    report = inn.lint(decoder(), recipe="gpt2")
    assert "pass" in report.remark or "input" in report.remark
    empty = linted(decoder(), recipe={"roles": {"router": {"std": 0.02}}})
    assert named(empty, "recipe") == [None]
