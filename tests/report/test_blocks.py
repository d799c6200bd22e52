import re

import pytest

from isometry.report.blocks import (
    Beside,
    Code,
    Figure,
    Paragraph,
    Point,
    Points,
    Table,
    figures,
    inline,
)

SVG = '<svg width="720pt" height="10pt" viewBox="0 0 720 10"><text>s</text></svg>'


@pytest.mark.parametrize(
    "svg",
    [
        "",
        "<?xml version='1.0'?><svg></svg>",
        "<svg><script>x</script></svg>",
        "<svg onload='x'></svg>",
        "<svg>",
    ],
)
def test_a_figure_that_is_no_plain_svg_is_refused(svg):
    with pytest.raises(ValueError, match="expected one <svg> element without a script"):
        Figure(svg, "caption")


def test_a_figure_stays_legible_on_a_phone():
    assert 'style="min-width:396pt"' in Figure(SVG, "Seen.").html()


def test_a_table_without_rows_says_so():
    assert "(empty)" in Table([]).html()
    assert Table([]).markdown(iter(())) == "(empty)"


def test_a_table_with_a_title_is_folded_and_says_how_long_it_is():
    rows = [{"c": 1.0}, {"c": 2.0}]
    assert "<details" not in Table(rows).html()
    assert "<summary>Blocks (2 rows)</summary>" in Table(rows, title="Blocks").html()
    assert "<summary>Blocks (1 row)</summary>" in Table(rows[:1], title="Blocks").html()
    assert Table(rows, title="Blocks").markdown(iter(())).startswith("Blocks:\n\n|")


def test_a_bar_in_a_cell_does_not_open_a_column():
    lines = Table([{"a|b": "x | y", "c": 1.0}]).markdown(iter(())).splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}


def test_a_fence_is_longer_than_those_inside():
    assert Code("```\nx\n```").markdown(iter(())) == "````\n```\nx\n```\n````"


def test_a_point_has_its_badge_in_words_and_its_remedy_below():
    list_ = Points([Point("It is <0>.", "fail", "bad", "Draw it again."), Point("Said.")])
    page = list_.html()
    assert '<li class="bad"><p><span class="badge">fail</span>It is &lt;0&gt;.</p>' in page
    assert '<p class="note">Draw it again.</p>' in page
    assert list_.markdown(iter(())) == "- **fail**: It is <0>. Draw it again.\n- Said."


def test_blocks_beside_each_other_keep_their_order_in_markdown():
    both = Beside([Paragraph("left")], [Figure(SVG, "Right."), Paragraph("below")])
    assert both.markdown(iter(["a.svg"])) == "left\n\n![Right.](a.svg)\n\nRight.\n\nbelow"
    assert both.html().count("<div>") == 3  # two columns, and the one that a figure scrolls in


def test_figures_are_found_wherever_they_are():
    first, second, third = (Figure(SVG, name) for name in "abc")
    blocks = [first, Paragraph("x"), Beside([Points([])], [second, Beside([third], [])])]
    assert [*figures(blocks)] == [first, second, third]


def test_what_stands_between_backticks_is_code_and_all_else_is_escaped():
    assert inline("`a<b>` & a ` alone") == "<code>a&lt;b&gt;</code> &amp; a ` alone"
    assert "<code>weight</code>" in Paragraph("see `weight`").html()
    assert inline("`<script>`") == "<code>&lt;script&gt;</code>"
