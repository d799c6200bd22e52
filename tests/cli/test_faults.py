import json

import pytest
import torch

from isometry.cli.faults import in_options, in_own_code, place
from isometry.theory.laws import UniversalLaw

OPTIONS = {"num_probes": "--num-probes", "batch_norm": "--batch-norm", "x": "--input", "c": "--c"}


def caught(call):
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError


def ours():
    return caught(lambda: UniversalLaw(-1.0))


def test_a_refusal_of_ours_is_no_failure_of_the_user_s_code():
    assert not in_own_code(ours())
    assert in_own_code(caught(lambda: {}["missing"]))


def test_a_model_of_torch_s_own_parts_fails_by_itself():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3))
    assert in_own_code(caught(lambda: model(torch.ones(1, 8))))


def test_an_error_of_a_library_outside_any_model_is_not_the_model_s(monkeypatch):
    monkeypatch.setattr("isometry.cli.faults._is_users", lambda _: False)
    assert not in_own_code(caught(lambda: json.loads("{")))


def test_the_place_is_the_last_line_of_the_user_s_code():
    def reading():
        return json.loads("{")

    line = reading.__code__.co_firstlineno + 1
    assert place(caught(reading)) == f"test_faults.py, line {line}, in reading"


def test_the_place_is_found_behind_an_explanation():
    def explained():
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("explained") from error

    line = explained.__code__.co_firstlineno + 4
    assert place(caught(explained)) == f"test_faults.py, line {line}, in explained"


def test_the_place_of_a_line_that_python_cannot_read_is_that_line(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("a = 1\nb = = 2\n")
    error = caught(lambda: compile(file.read_text(), str(file), "exec"))
    assert place(error) == "broken.py, line 2"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("`num_probes` is 0; expected an integer.", "`--num-probes` is 0; expected an integer."),
        ("Pass `num_probes=120`.", "Pass `--num-probes 120`."),
        ("a statement: batch_norm='batch' (frozen)", "a statement: --batch-norm batch (frozen)"),
        (
            "`model.eval()` and `y` stay, as c = 1 does",
            "`model.eval()` and `y` stay, as c = 1 does",
        ),
        ("`f(x=1)` and `other=2`", "`f(x=1)` and `other=2`"),
    ],
)
def test_arguments_become_options(message, said):
    assert in_options(message, OPTIONS) == said
