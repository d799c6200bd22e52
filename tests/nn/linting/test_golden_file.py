import json
import math
import re

import pytest
import torch
from torch import nn

from isometry import nn as inn
from isometry.nn.linting.golden import golden, load_golden, save_golden

NAME = "0.weight"


@pytest.fixture(scope="module")
def table():
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8))
    return golden(inn.lint(net, torch.ones(1, 8)))


@pytest.fixture
def saved(tmp_path, table):
    """Return a function that writes a copy of a golden file after an edit, and its path."""
    path = tmp_path / "golden.json"

    def save(edit):
        copy = json.loads(json.dumps(table))
        edit(copy, copy["parts"][NAME])
        path.write_text(json.dumps(copy))
        return path

    return save


def refused(path, field):
    """Hold that a file is refused in one sentence with its name, the field and what to do."""
    with pytest.raises(ValueError, match=re.escape(f"`golden` is {path}, whos")) as caught:
        load_golden(path)
    said = str(caught.value)
    assert field in said
    assert said.endswith("`isometry lint MODEL --save FILE`, or `pytest --isometry-update`.")
    assert "\n" not in said


NO_NUMBERS = ("x", None, True, [], {}, math.nan, math.inf)
WRONG = {
    "std": (*NO_NUMBERS, -0.5, 0),
    "mean": NO_NUMBERS,
    "error": (*NO_NUMBERS, -0.5, 0, 1.5),
    "size": (*NO_NUMBERS, -3, 0, 1.5),
    "entries": (0, None, "gauss", [], {}),
    "role": (0, None, "x", [], {}),
    "shape": (0, None, "8", {}, [8, "x"], [8.5, 8], [-8, 8], [True, 8]),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_field_that_is_none_is_named_with_its_parameter(saved, field):
    for value in WRONG[field]:
        path = saved(lambda _, entry, value=value: entry.__setitem__(field, value))
        refused(path, f'"{field}" of "{NAME}" is')
    refused(saved(lambda _, entry: entry.pop(field)), f'"{field}" of "{NAME}" is missing')


@pytest.mark.parametrize("field", ["schema", "model", "remark", "structure", "parts"])
def test_a_head_that_is_none_is_named(saved, field):
    for value in (None, [], True, 1, 1.5):
        path = saved(lambda whole, _, value=value: whole.__setitem__(field, value))
        refused(path, f'"{field}" is')
    refused(saved(lambda whole, _: whole.pop(field)), f'"{field}" is missing')


def test_parts_that_were_changed_or_taken_out_or_are_none_are_told(saved):
    for field, value in (("role", "map"), ("shape", [8, 8]), ("shape", [])):
        path = saved(lambda _, entry, f=field, v=value: entry.__setitem__(f, v))
        refused(path, '"structure" is')
    refused(saved(lambda whole, _: whole["parts"].pop(NAME)), '"structure" is')
    refused(saved(lambda whole, _: whole["parts"].__setitem__(NAME, [])), f'"{NAME}" is []')


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_json_is_refused(tmp_path, content):
    path = tmp_path / "golden.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"golden.json, which is not JSON.* --isometry-update"):
        load_golden(path)


@pytest.mark.parametrize("content", [b"[1]", b"null", b"3", b"{}"])
def test_json_that_is_no_golden_file_is_refused(tmp_path, content):
    path = tmp_path / "golden.json"
    path.write_bytes(content)
    refused(path, '"schema" is missing')


def test_a_file_that_is_not_there_and_no_path_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected an existing file. Make it again"):
        load_golden(tmp_path)
    for wrong in (None, 3, b"golden.json"):
        with pytest.raises(TypeError, match="expected the path of a file"):
            load_golden(wrong)


def test_the_advice_works(saved, table):
    path = saved(lambda whole, _: whole.pop("parts"))
    save_golden(inn.lint(nn.Linear(3, 3)), path)
    assert load_golden(path)["model"] == "Linear"
