from dataclasses import replace

from cases_streaming import IDS, passed, whole
from isometry.nn.linting.lint import lint
from isometry.nn.roles.recipes import recipe_of
from isometry.nn.scale.streaming.gathered import gathered
from isometry.nn.scale.streaming.passed import renamed


def layers(count=4, factor=1.0, odd=None):
    """Return passes that differ in their names, one of them with a map of another size."""
    one = passed()
    made = []
    for number in range(count):
        names = {part.name: part.name.replace("h.0", f"h.{number}") for part in one.parts}
        parts = tuple(renamed(p, p.parameter.replace("h.0", f"h.{number}")) for p in one.parts)
        numbers = {names[key]: value for key, value in one.summaries.items() if key in names}
        if number == odd:
            name = f"h.{number}.mlp.c_fc.weight"
            numbers[name] = replace(numbers[name], std=factor * numbers[name].std)
        made.append(replace(one, name=f"h.{number}", parts=parts, summaries=numbers))
    return made


def test_the_law_and_the_recipe_are_those_of_a_model_with_these_layers():
    found = gathered(layers(), None, trained=False)
    assert found.law.startswith("Law: std = 0.02")
    assert found.recipe.startswith("Recipe: gpt2 fits")
    assert lint(whole(), IDS).recipe.startswith("Recipe: gpt2 fits")


def test_a_layer_unlike_the_others_is_found_by_its_number():
    assert gathered(layers(), None, trained=False).findings == ()
    (found,) = gathered(layers(odd=2, factor=1.5), None, trained=False).findings
    assert found.parameter == "h.2.mlp.c_fc.weight"


def test_orthogonal_maps_may_differ_as_data_scales_them():
    made = [
        replace(one, orthogonal=tuple(p.name for p in one.parts))
        for one in layers(odd=2, factor=1.5)
    ]
    assert gathered(made, None, trained=False).findings == ()


def test_a_recipe_that_is_not_followed_is_an_error():
    found = gathered(layers(), recipe_of("he"), trained=False)
    assert "error" in {f.severity for f in found.findings}
    assert gathered(layers(), recipe_of("he"), trained=True).findings == ()
