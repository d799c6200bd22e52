import json

import pytest

from cases_lint import STD, decoder, edited, linted, redraw
from isometry.nn.linting.finding import Finding, LintReport, grouped, ordered


def findings():
    return [
        Finding("a.0", "fan", "note", "It is 1."),
        Finding("a.1", "zero", "error", "It is 2.", "Do.", 2.0),
        Finding("a.2", "zero", "error", "It is 3.5.", "Do.", 3.5),
    ]


def test_the_worst_come_first_and_alike_ones_are_told_once():
    ranked = ordered(findings())
    assert [f.severity for f in ranked] == ["error", "error", "note"]
    group = grouped(ranked)[0]
    assert (group.finding.parameter, group.count, group.names) == ("a.1", 2, "a.1, a.2")
    assert str(group) == "`a.1, a.2`: It is 2. Do."


def test_a_report_counts_and_filters():
    report = LintReport("Net", ordered(findings()), ())
    assert repr(report) == "LintReport(Net: 2 errors, 0 warnings, 1 notes)"
    assert len(report.worst("error")) == 2
    assert len(report.worst("note")) == 3
    assert str(findings()[1]) == "`a.1`: It is 2. Do."


def test_a_report_prints_and_becomes_json():
    report = linted(edited(lambda i, layer: redraw(layer.up.weight, 0.3 * STD, i)))
    text = str(report)
    assert "Decoder: 6 warnings" in text
    assert "layers.0.up.weight, layers.1.up.weight, layers.2.up.weight and 3 more" in text
    table = json.loads(json.dumps(report.to_dict()))
    assert table["schema"] == "isometry/lint-report/2"
    assert table["findings"][0]["rule"] == "role-scale"
    assert table["parts"][1]["role"] == "reader"
    assert len(report.rows()) == 6
    assert report._repr_html_().startswith("<table>")


@pytest.mark.parametrize("word", ["warn", "Error", None, 1, ["error"]])
def test_a_severity_that_is_none_is_refused_with_the_words_there_are(word):
    for asked in (LintReport("Net", (), ()).of, LintReport("Net", (), ()).worst):
        with pytest.raises(ValueError, match="expected one of 'error', 'warning', 'note'"):
            asked(word)


@pytest.mark.parametrize("x", [True, False])
def test_a_clean_report_says_that_nothing_stands_out(x):
    report = linted(decoder()) if x else LintReport("Net", (), ())
    assert "nothing stands out" in str(report)
