import re
from html.parser import HTMLParser

import pytest

from isometry.report import Code, Figure, Paragraph, Report, Section, Table, write_text

SVG = '<svg width="720pt" height="10pt" viewBox="0 0 720 10"><text>s</text></svg>'
NASTY = "<b>&\"'</b> | [x](y)"
REPORT = Report(
    f"Title {NASTY}",
    [
        Section(
            f"First {NASTY}",
            [
                Paragraph(f"Words {NASTY}"),
                Table([{"activation": NASTY, "c": 1.0}, {"activation": "tanh"}], "Numbers."),
                Figure(SVG, f"Seen {NASTY}"),
            ],
        ),
        Section("Second", [Code(f"isometry demo  # {NASTY}"), Figure(SVG, "Again.")]),
    ],
)


class Outline(HTMLParser):
    VOID = ("meta",)

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.words = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_every_text_is_escaped_and_every_element_closed():
    outline = Outline(REPORT.html())
    assert outline.open == []
    text = "".join(outline.words)
    for part in ("Title", "First", "Words", "Seen", "isometry demo  #"):
        assert f"{part} {NASTY}" in text
    assert "b" not in [tag for tag, _ in outline.seen]


def test_the_page_asks_for_nothing_from_outside():
    outline = Outline(REPORT.html())
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in outline.seen}
    assert not any({"src", "href"} & set(attributes) for _, attributes in outline.seen)
    assert not re.search(r"url\(|@import|https?://", REPORT.html())


def test_the_page_suits_a_phone_and_a_dark_screen():
    page = REPORT.html()
    assert 'name="viewport"' in page
    assert "color-scheme: light dark" in page
    assert 'style="min-width:432pt"' in page


def test_a_figure_is_inline_and_named_for_those_who_do_not_see_it():
    labels = [a["aria-label"] for tag, a in Outline(REPORT.html()).seen if tag == "svg"]
    assert labels == [f"Seen {NASTY}", "Again."]


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


def test_a_table_without_rows_says_so():
    assert "(empty)" in Table([]).html()
    assert Table([]).markdown("") == "(empty)"


def test_markdown_has_the_same_parts_and_its_figures_beside_it(tmp_path):
    path = REPORT.write_markdown(tmp_path / "out.md")
    text = path.read_text()
    assert text.startswith(f"# Title {NASTY}\n\n## First")
    assert "| activation " in text
    assert "](out-1.svg)" in text
    assert "](out-2.svg)" in text
    assert (tmp_path / "out-1.svg").read_text().startswith(SVG[:-6])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out-1.svg", "out-2.svg", "out.md"]


def test_a_bar_in_a_cell_does_not_open_a_column():
    lines = Table([{"a|b": "x | y", "c": 1.0}]).markdown("").splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}


def test_a_fence_is_longer_than_those_inside():
    assert Code("```\nx\n```").markdown("") == "````\n```\nx\n```\n````"


def test_the_page_is_written_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert REPORT.write_html(path) == path
    assert path.read_text(encoding="utf-8") == REPORT.html()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/report.html", "file/report.html", "folder"])
def test_a_path_that_cannot_be_written_is_one_clear_sentence(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=rf"`path` is '.*{place}', which cannot be written"):
        REPORT.write_html(tmp_path / place)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
