import pytest

from isometry.experiments.parts.claims import Findings, Hypothesis


@pytest.mark.parametrize(
    ("number", "low", "high", "verdict", "wanted"),
    [
        (0.1, None, 0.2, "pass", "<= 0.2"),
        (0.3, None, 0.2, "fail", "<= 0.2"),
        (0.3, 0.2, None, "pass", ">= 0.2"),
        (0.1, 0.2, 0.4, "fail", "0.2 .. 0.4"),
        (None, None, 0.2, "not measured", "<= 0.2"),
    ],
)
def test_a_number_decides(number, low, high, verdict, wanted):
    item = Hypothesis("study", "The claim", "what was run", number, low, high)
    assert item.verdict == verdict
    assert item.to_dict()["verdict"] == verdict
    assert item.rows() == [
        {"claim": "The claim", "study": "study", "number": number, "wanted": wanted,
         "verdict": verdict}
    ]  # fmt: skip


def test_findings_print_without_their_blocks():
    found = Findings("title", [], {"table": [{"a": 1}]}, [])
    assert found.to_dict() == {
        "schema": "isometry/findings/1",
        "title": "title",
        "hypotheses": [],
        "numbers": {"table": [{"a": 1}]},
    }
