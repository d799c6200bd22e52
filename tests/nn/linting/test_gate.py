import pytest
import torch

from cases_lint import DEPTH, STD, decoder, edited, linted, redraw, tokens
from isometry import nn as inn
from isometry.nn.linting.gate import with_golden
from isometry.nn.linting.golden import save_golden


def test_the_right_model_passes_and_its_report_comes_back():
    report = inn.assert_initialised(decoder(), tokens(), recipe="gpt2")
    assert report.worst() == ()


def test_what_did_not_land_is_in_the_message():
    wrong = edited(lambda i, layer: redraw(layer.up.weight, STD * DEPTH, i))
    with pytest.raises(AssertionError, match=r"(?s)did not land.*layers.0.up.weight"):
        inn.assert_initialised(wrong, tokens())
    assert inn.assert_initialised(wrong, tokens(), fail_on="error").of("warning")


def test_notes_can_fail_too():
    wide = edited(lambda i, layer: torch.nn.init.zeros_(layer.down.weight))
    assert inn.assert_initialised(wide, tokens())
    with pytest.raises(AssertionError, match="last layer of a branch"):
        inn.assert_initialised(wide, tokens(), fail_on="note")


def test_a_golden_file_is_a_gate_as_well(tmp_path):
    path = tmp_path / "golden.json"
    save_golden(linted(decoder()), path)
    assert with_golden(linted(decoder(1)), path).worst() == ()
    inn.assert_initialised(decoder(1), tokens(), golden=path)
    larger = edited(lambda i, layer: layer.up.weight.mul_(1.06))
    assert linted(larger).worst() == ()
    with pytest.raises(AssertionError, match="another seed moves it by"):
        inn.assert_initialised(larger, tokens(), golden=path)


def test_a_severity_that_is_none_is_refused_before_the_work():
    with pytest.raises(ValueError, match=r"`fail_on` is 'warn'.*Did you mean 'warning'"):
        inn.assert_initialised(None, fail_on="warn")


@pytest.mark.parametrize("saved", [tokens(), None], ids=["with", "without"])
def test_a_golden_file_with_an_input_is_not_held_to_a_model_without(tmp_path, saved):
    path = tmp_path / "golden.json"
    save_golden(inn.lint(decoder(), saved), path)
    now, remedy = (None, "Pass `x`") if saved is not None else (tokens(), "Leave `x` out")
    with pytest.raises(ValueError, match=r"golden.json, which was saved with.* expected the same"):
        inn.assert_initialised(decoder(1), now, golden=path)
    with pytest.raises(ValueError, match=remedy):
        with_golden(inn.lint(decoder(1), now), path)
    assert inn.assert_initialised(decoder(1), saved, golden=path)
