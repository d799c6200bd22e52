"""Reports in a real browser: the first screen, sorting, paper, a phone."""

import io

import pytest
from matplotlib.figure import Figure as Drawing
from matplotlib.image import imread

from isometry.plotting import figure_svg
from isometry.report import Beside, Figure, Origin, Paragraph, Point, Points, Report, Section, Table

LONG = "distance_to_the_law_of_a_block_whose_name_is_long."


def curve(drawing: Drawing) -> None:
    drawing.add_subplot().plot([1, 2], [1, 3])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rows = [
        {"block": name, "c": c, LONG: 1.0}
        for name, c in (("b10", 10.0), ("b9", None), ("b2", 0.5), ("b1", 1e-5))
    ]
    drawn = Figure(figure_svg(curve, (7.2, 3.4)), LONG)
    claims = Points([Point(LONG, "fail", "bad", LONG)])
    sections = [
        Section("Said", [Beside([claims], [drawn]), Paragraph(LONG)]),
        Section("Numbers", [Table(rows, title="Blocks")]),
    ]
    report = Report(
        "The Jacobian of " + "Sequential" * 6, LONG, sections,
        tone="bad", numbers={"c": 1.0, LONG: 2.0}, figure=drawn, origin=Origin([LONG]),
    )  # fmt: skip
    return report.write_html(tmp_path_factory.mktemp("report") / "report.html").as_uri()


@pytest.fixture
def open_page(browser, file):
    contexts, troubles = [], []

    def open_(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text))
        page.goto(file)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert troubles == []


def column(page, place):
    return page.locator(f"tbody tr td:nth-child({place})").all_inner_texts()


def test_a_column_sorts_by_its_numbers_both_ways_and_nothing_stays_last(open_page):
    page = open_page()
    page.get_by_text("Blocks (4 rows)").click()
    page.get_by_role("button", name="c", exact=True).click()
    assert column(page, 2) == ["1e-05", "0.5", "10", "-"]
    page.get_by_role("button", name="c", exact=True).press("Enter")
    assert column(page, 2) == ["10", "0.5", "1e-05", "-"]
    assert page.locator("th[aria-sort=descending]").count() == 1
    page.get_by_role("button", name="block", exact=True).click()
    assert column(page, 1) == ["b1", "b2", "b9", "b10"]


def test_what_is_folded_is_printed(open_page):
    page = open_page()
    folded = page.locator("table")
    assert not folded.is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert folded.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not folded.is_visible()


@pytest.mark.parametrize(("width", "height"), [(1200, 800), (390, 844)])
def test_verdict_and_figure_are_in_the_first_screen_and_nothing_is_cut_off(
    open_page, width, height
):
    page = open_page(viewport={"width": width, "height": height})
    figure = page.locator("header svg").bounding_box()
    assert figure["y"] + figure["height"] < height
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_figure_that_goes_on_to_the_right_is_shaded_there_until_it_is_scrolled(open_page):
    page = open_page(viewport={"width": 390, "height": 844})
    page.evaluate("document.querySelector('header svg').style.minWidth = '900px'")
    box = page.locator("header figure > div")

    def darkest_at_the_end():
        corner = imread(io.BytesIO(box.screenshot()))[2:8, -6:-1, :3]
        return float(corner.min())

    assert darkest_at_the_end() < 0.95
    box.evaluate("div => { div.scrollLeft = div.scrollWidth }")
    assert darkest_at_the_end() == 1.0


def test_the_page_follows_the_reader_s_choice_of_light_or_dark(open_page):
    ink = "getComputedStyle(document.body).backgroundColor"
    found = {scheme: open_page(color_scheme=scheme).evaluate(ink) for scheme in ("light", "dark")}
    assert found == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}
