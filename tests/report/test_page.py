import base64
import hashlib
import re
from html.parser import HTMLParser

from isometry.report import (
    Beside,
    Code,
    Figure,
    Origin,
    Paragraph,
    Point,
    Points,
    Report,
    Section,
    Table,
)

SVG = '<svg width="720pt" height="10pt" viewBox="0 0 720 10"><text>s</text></svg>'
NASTY = "<b>&\"'</b> | [x](y)"
REPORT = Report(
    f"Title {NASTY}",
    f"Verdict {NASTY}",
    [
        Section(
            f"First {NASTY}",
            [
                Paragraph(f"Words {NASTY}"),
                Table([{"activation": NASTY, "c": 1.0}, {"activation": "tanh"}], "Numbers."),
                Beside([Points([Point(f"Said {NASTY}", "fail", "bad")])], [Figure(SVG, "Again.")]),
            ],
        ),
        Section("Second", [Code(f"print  # {NASTY}", f"Lines {NASTY}")]),
    ],
    tone="bad",
    numbers={f"Number {NASTY}": 0.123456},
    figure=Figure(SVG, f"Seen {NASTY}"),
    origin=Origin([f"isometry demo  # {NASTY}"], {"seed": 7}, {"torch": "2.13"}),
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
    said = ("Title", "Verdict", "First", "Words", "Said", "Lines", "Seen", "Number", "print  #")
    for part in (*said, "isometry demo  #"):
        assert f"{part} {NASTY}" in text, part
    assert "b" not in [tag for tag, _ in outline.seen]


def test_the_page_asks_for_nothing_from_outside():
    outline = Outline(REPORT.html())
    assert not {"link", "img", "iframe"} & {tag for tag, _ in outline.seen}
    assert not any({"src", "href"} & set(attributes) for _, attributes in outline.seen)
    assert not re.search(r"url\(|@import|https?://", REPORT.html())


def test_the_page_may_run_its_own_script_and_no_other():
    page = REPORT.html()
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in page


def test_verdict_numbers_and_figure_come_before_everything_else():
    page = REPORT.html()
    head, rest = page.split("</header>")
    assert '<p class="verdict bad">Verdict' in head
    assert "<dd>0.1235</dd>" in head
    assert head.count("<svg") == rest.count("<svg") == 1


def test_the_page_says_how_to_get_it_again():
    words = "".join(Outline(REPORT.html()).words)
    assert "seed: 7; torch 2.13." in words
    here = Report("T", "V", [], origin=Origin(["isometry demo"])).html()
    assert re.search(r"Python 3\.\d+\.\d+, .*torch 2\.", here)


def test_the_page_suits_a_phone_and_a_dark_screen_and_paper():
    page = REPORT.html()
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_a_figure_is_inline_and_named_for_those_who_do_not_see_it():
    labels = [a["aria-label"] for tag, a in Outline(REPORT.html()).seen if tag == "svg"]
    assert labels == [f"Seen {NASTY}", "Again."]


def test_markdown_has_the_same_parts_and_its_figures_beside_it(tmp_path):
    path = REPORT.write_markdown(tmp_path / "out.md")
    text = path.read_text()
    assert text.startswith(f"# Title {NASTY}\n\n**Verdict {NASTY}**\n\nNumber")
    assert text.index("](out-1.svg)") < text.index("## First") < text.index("](out-2.svg)")
    assert "| activation " in text
    assert "## To get this again" in text
    assert (tmp_path / "out-1.svg").read_text().startswith(SVG[:-6])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out-1.svg", "out-2.svg", "out.md"]


def test_the_page_is_written_whole(tmp_path):
    path = REPORT.write_html(tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == REPORT.html()
