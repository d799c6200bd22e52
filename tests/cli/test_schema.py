import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import isometry as iso
from cases_cli import run
from cases_models import Residual, mlp, stack
from cases_schema import check_schema, everything, problems
from isometry import nn as inn
from isometry._result import Record
from isometry.cli.output import json_text
from isometry.cli.schema import records
from isometry.nn.linting.finding import Finding, LintReport
from isometry.nn.roles.recipes import recipe_of

STABLE = Path(__file__).parents[2] / "docs" / "schemas.json"
SPEC = iso.ResNetSpec("gelu", depth=10)


def seeded():
    return torch.Generator().manual_seed(0)


def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return stack(lambda: Residual(mlp(24, 24)))


X = torch.linspace(-1, 1, 192).reshape(8, 24)
SPECTRUM = iso.Spectrum(np.array([0.0, 0.5, 1.0, 2.0]), dimension=8, unresolved=(0.0, 0.25))
RESULTS = {
    "spectrum": lambda: SPECTRUM,
    "comparison": lambda: iso.compare(SPECTRUM, iso.UniversalLaw(1.0)),
    "universal law": lambda: iso.UniversalLaw(1.0),
    "law of s": lambda: iso.UniversalLaw(1.0).singular_values(),
    "finite-depth law": lambda: iso.finite_depth_law(SPEC),
    "product law": lambda: iso.ProductLaw([(SPECTRUM, 3), ([1.0, 2.0], [0.5, 0.5])]),
    "moments": lambda: iso.gaussian_moments("leaky_relu(0.1)", 1.0),
    "moments of many": lambda: iso.gaussian_moments("gelu", np.array([1.0, 2.0])),
    "dual activation": lambda: iso.dual_activation("leaky_relu(0.1)"),
    "working point": lambda: iso.working_point("gelu"),
    "signal": lambda: iso.propagate(SPEC),
    "kernels": lambda: iso.network_kernels(SPEC, 0.5),
    "diagnosis": lambda: inn.diagnose(model(), X[:1], twin=True, generator=seeded()),
    "diagnosis without blocks": lambda: inn.diagnose(nn.Linear(3, 3), torch.ones(1, 3)),
    "lint": lambda: inn.lint(model(), X, recipe="he"),
    "not finite": lambda: LintReport("m", (Finding("w", "value", "error", "", "", np.inf),), ()),
    "plan": lambda: inn.plan(model(), X, centre=True, generator=seeded()),
    "plan of a condition number": lambda: inn.plan(
        model(), X, condition_number=9, rtol=0.3, generator=seeded()
    ),
    "baseline": lambda: inn.baselines.he(model(), X),
    "block": lambda: inn.residual_blocks(model(), X)[0],
    "traces": lambda: inn.block_traces(inn.residual_blocks(model(), X), generator=seeded())[0],
    "measured law": lambda: inn.measured_law(
        inn.block_traces(inn.residual_blocks(model(), X), generator=seeded())
    ),
    "extremes": lambda: inn.largest_singular_values(
        inn.JacobianOperator(model(), X[:1]), 2, generator=seeded()
    ),
    "model comparison": lambda: inn.compare_models(model(), model(), X),
    "recipe": lambda: recipe_of("gpt2"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.filterwarnings("ignore::isometry.errors.AccuracyWarning")
def test_what_a_result_becomes_follows_its_schema(name):
    result = RESULTS[name]()
    record = result.to_dict()
    check_schema(record)
    assert json.loads(json_text(result)) == json.loads(json.dumps(record))
    assert not re.search(r"[A-Z]\w+\(\w+=|<\w+ object|array\(", json.dumps(record))


def test_the_schemas_are_those_that_are_written_down():
    """Where this fails, raise the `_version` of the class if a reader could break, then run
    `isometry schema > docs/schemas.json`."""
    written = json.loads(STABLE.read_text())
    assert everything() == written


def test_every_key_is_in_snake_case():
    for name, schema in everything()["$defs"].items():
        for key in schema.get("properties", {}):
            assert re.fullmatch(r"[a-z][a-z0-9_]*", key), (name, key)


def test_no_two_classes_have_one_schema():
    names = [kind._schema() for kind in records()]
    assert len(set(names)) == len(names) > 40


def test_no_class_gives_other_keys_than_it_declares():
    assert {kind for kind in records() if kind.to_dict is not Record.to_dict} == set()


def test_the_validator_can_fail():
    known, record = everything()["$defs"], SPECTRUM.to_dict()
    wrong = {
        "values": "1.0",
        "provenance": 3,
        "dimension": 1.5,
        "unresolved": [0.0, 0.5, 1.0],
        "schema": "isometry/spectrum/0",
        "other": None,
    }
    for key, value in wrong.items():
        assert problems(record | {key: value}, known["spectrum"], known), key
    del record["weights"]
    assert problems(record, known["spectrum"], known) == ["$ has no weights"]


def test_the_command_prints_all_or_one_with_what_it_needs(capsys):
    status, printed, _ = run("schema", capsys)
    assert status == 0
    assert json.loads(printed) == everything()
    one = json.loads(run("schema diagnosis", capsys)[1])
    assert one["$ref"] == "#/$defs/diagnosis"
    assert {"diagnosis", "spectrum", "real", "numbers", "finding"} <= one["$defs"].keys()
    assert "init-plan" not in one["$defs"]
    status, printed, complaint = run("schema diagnose", capsys)
    assert (status, printed) == (2, "")
    assert "Did you mean 'diagnosis'?" in complaint


def test_what_a_field_means_is_in_its_schema():
    said = everything()["$defs"]["diagnosis"]["properties"]["scale"]["description"]
    assert said == "The scale of the law, in units of lam = s^2."
