import re

import pytest

from isometry._result import plain
from isometry.experiments.parts.claims import Findings, Hypothesis, Reading, section_of
from isometry.report import Beside, Figure, Points, Table


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


def test_findings_print_their_claims_and_numbers_reading_by_reading():
    first, second = claims("a", 1), claims("b", 2)
    found = Findings(
        "title",
        [
            Reading(first, [Table([{"a": 1}])], {"one": [{"a": 1}]}),
            Reading([], [], {"two": [], "three": [{"b": 2}]}),
            Reading(second),
        ],
    )
    assert found.hypotheses == [*first, *second]
    assert found.lead is None
    assert found.to_dict() == {
        "schema": "isometry/findings/1",
        "title": "title",
        "hypotheses": [plain(claim) for claim in found.hypotheses],
        "numbers": {"one": [{"a": 1}], "two": [], "three": [{"b": 2}]},
    }


def claims(name, count):
    return [Hypothesis("study", f"{name}{k}", "what was run", 0.1, high=1.0) for k in range(count)]


def drawn(name, count):
    return [Figure("<svg></svg>", f"{name}{k}") for k in range(count)]


def order(section):
    """Return the captions, claims and folded titles of a section as they are read."""
    return re.findall(
        r"<figcaption>(.*?)</figcaption>|</span>(\w+)\.</p>|<summary>(\w+)",
        "".join(block.html() for block in section.blocks),
    )


@pytest.mark.parametrize("claimed", [1, 2, 3, 6])
@pytest.mark.parametrize("shown", range(6))
def test_claims_stand_beside_their_own_figures_and_above_their_own_tables(claimed, shown):
    readings = [
        Reading(claims(name, claimed), [Table([{"a": 1}], f"{name}t."), *drawn(name, shown)])
        for name in ("p", "q")
    ]
    section = section_of(Findings("title", readings))
    read = ["".join(groups) for groups in order(section)]
    figures = [[f"{name}{k}" for k in range(shown)] for name in ("p", "q")]
    said = [[f"{name}{k}" for k in range(claimed)] for name in ("p", "q")]
    assert read == [*said[0], *figures[0], "pt", *said[1], *figures[1], "qt"]
    for reading, block in zip(readings, heads(section), strict=True):
        assert [point.text[:-1] for point in points(block)] == [
            claim.statement for claim in reading.hypotheses
        ]
        beside = block.right if isinstance(block, Beside) else []
        assert len(beside) == (0 if not shown else 1 if shown % 2 or claimed < 3 else 2)
    rows = [block for block in section.blocks if isinstance(block, Beside)]
    assert all(row.left and row.right for row in rows)  # no half of a row stays empty


def heads(section):
    return [block for block in section.blocks if points(block)]


def points(block):
    first = block.left[0] if isinstance(block, Beside) else block
    return first.points if isinstance(first, Points) else []


def test_what_stands_at_the_head_of_a_page_is_not_repeated():
    found = Findings("title", [Reading(claims("a", 1), drawn("a", 2)), Reading([], drawn("b", 1))])
    assert found.lead.caption == "a0"
    read = ["".join(groups) for groups in order(section_of(found, led=True))]
    assert read == ["a0", "a1", "b0"]  # the claim a0, then figures


def test_a_reading_without_claims_leaves_no_empty_list():
    section = section_of(Findings("title", [Reading([], [Table([{"a": 1}], "Numbers.")])]))
    assert [type(block) for block in section.blocks] == [Table]
