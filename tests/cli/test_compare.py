import json

import pytest
from cyclopts import App

from cases_schema import check_schema
from isometry.cli.compare import compare_activations
from isometry.cli.output import guarded

WORDS = ["compare-activations", "--profile", "smoke", "--executor", "serial"]


def run(words):
    app = App(name="isometry")
    app.command(compare_activations)
    return guarded(
        lambda: app(words, exit_on_error=False, print_error=False, result_action="return_value")
    )


@pytest.mark.slow
def test_ones_own_activation_is_compared(tmp_path, capsys, monkeypatch):
    (tmp_path / "my_phi.py").write_text(
        "import torch\n\ndef phi(h):\n    return torch.tanh(h) + h\n"
    )
    monkeypatch.chdir(tmp_path)
    words = [*WORDS, "relu", "my_phi:phi", "--out", "runs", "--report", "report", "--json"]
    assert run(words) == 0
    record = json.loads(capsys.readouterr().out)
    first = record["findings"]["numbers"]["times"][0]
    assert first["rung"] == "equal sigma_w"
    assert {"relu", "my_phi:phi"} < set(first)
    check_schema(record)
    assert (tmp_path / "report" / "comparison.html").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["relu"], "two different ones"),
        (["relu", "rely"], "Did you mean 'relu'"),
        (["relu", "nowhere:phi"], "cannot be imported"),
        (["relu", "tanh", "--data", "digit"], "Did you mean 'digits'"),
    ],
)
def test_a_wrong_word_is_one_sentence(words, text, tmp_path, capsys):
    assert run([*WORDS, *words, "--out", str(tmp_path)]) == 2
    assert text in capsys.readouterr().err
