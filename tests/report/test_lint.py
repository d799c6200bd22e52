import torch
from torch import nn

from isometry import nn as inn
from isometry.nn.linting.finding import Finding, LintReport
from isometry.report import lint_page

E, W, N = (
    Finding(name, "fan", word, f"{word}'s message.", "Its remedy.")
    for name, word in (("a", "error"), ("b", "warning"), ("c", "note"))
)


def page(*findings, **options):
    return lint_page(LintReport("Net", findings, (), **options))


def test_the_verdict_counts_and_names_the_worst():
    found = page(E, W, N)
    assert found.verdict == "1 error, 1 warning, 1 note. The first in `a`: error's message."
    assert (found.tone, page(W, N).tone, page(N).tone) == ("bad", "open", "good")
    assert page(N).verdict.startswith("The initialisation landed: no error, no warning, 1 note")
    assert page().verdict == "The initialisation landed: nothing stands out."


def test_the_findings_have_severity_rule_and_remedy():
    text = page(E, W, N, law="Law: std = 1").html()
    assert '<li class="bad"><p><span class="badge">error: fan</span>a: error' in text
    assert text.count('<p class="note">Its remedy.</p>') == 3
    assert "Law: std = 1" in text


def test_a_model_has_a_figure_and_a_table_of_roles(tmp_path):
    report = inn.lint(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), torch.ones(1, 8))
    text = report.save_html(tmp_path / "lint.html").read_text()
    assert "Roles and sizes (4 rows)" in text
    assert text.count("<svg") == 1
    assert page().figure is None
