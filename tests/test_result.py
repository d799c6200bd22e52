import dataclasses
import json
import pathlib

import numpy as np
import pytest

from isometry._result import Result, Worded, format_table, plain


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
    record = {"name": "<gelu>", "values": [1.0, 2.0], "inner": {"c": 0.5}}
    assert OUTER.to_dict() == {"schema": "isometry/outer/1", **record}


def test_what_json_cannot_hold_becomes_a_word_that_float_reads_and_stays_a_number_in_the_summary():
    values = np.array([np.inf, 1.0, np.nan])
    record = Outer("x", values, Inner(-np.inf)).to_dict()
    assert json.loads(json.dumps(record, allow_nan=False))["inner"]["c"] == "-inf"
    np.testing.assert_array_equal([float(x) for x in record["values"]], values)
    assert Inner(np.inf).summary() == {"c": np.inf}


def test_paths_and_what_has_a_word_become_words_and_nothing_else_does():
    class Named(Worded):
        def __str__(self):
            return "gelu"

    assert plain({"a": Named(), "b": [pathlib.PurePosixPath("x/y")]}) == {"a": "gelu", "b": ["x/y"]}
    with pytest.raises(TypeError, match="a object has no place in JSON; expected numbers"):
        plain([object()])


def test_hidden_fields_and_properties_are_given_where_the_class_says_so():
    @dataclasses.dataclass(frozen=True)
    class Square(Result):
        _version = 3
        _also = "area", "hidden"
        side: float
        hidden: int = dataclasses.field(default=7, repr=False)
        other: object = dataclasses.field(default=None, repr=False)

        @property
        def area(self):
            return self.side**2

    expected = {"schema": "isometry/square/3", "side": 3.0, "area": 9.0, "hidden": 7}
    assert Square(3.0).to_dict() == expected
    assert Square(3.0).summary() == {"side": 3.0, "area": 9.0, "hidden": 7}


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
