import dataclasses

import numpy as np
import pytest

from isometry._result import Result, format_table


@dataclasses.dataclass(frozen=True)
class Inner(Result):
    c: float


@dataclasses.dataclass(frozen=True)
class Outer(Result):
    name: str
    values: np.ndarray
    inner: Inner


OUTER = Outer("<gelu>", np.array([1.0, 2.0]), Inner(np.float64(0.5)))


def test_a_result_becomes_json_types():
    assert OUTER.to_dict() == {"name": "<gelu>", "values": [1.0, 2.0], "inner": {"c": 0.5}}


def test_a_result_becomes_an_escaped_html_table():
    assert '<td class="words">&lt;gelu&gt;</td>' in OUTER._repr_html_()


def test_a_result_becomes_a_data_frame():
    pytest.importorskip("pandas")
    assert OUTER.to_frame()["name"].tolist() == ["<gelu>"]


def test_a_table_is_aligned_and_becomes_markdown():
    rows = [{"activation": "relu", "c": 0.5}, {"activation": "leaky_relu", "c": None}]
    assert format_table(rows).splitlines()[2] == "relu        0.5"
    assert format_table(rows, markdown=True).splitlines()[1] == "| ---------- | --: |"


def test_a_markdown_rule_says_right_also_for_a_column_of_one_character():
    text = format_table([{"c": 1, "n": "x"}, {"c": 2, "n": "y"}], markdown=True)
    assert text.splitlines() == ["|  c | n  |", "| -: | -- |", "|  1 | x  |", "|  2 | y  |"]
