"""The page in a real browser: links, files, the keyboard, screens, and how long it takes."""

import json
import re
import threading

import pytest

import isometry as iso
from cases_page import c_of, choose, drop, note, number
from isometry.web import ExplorerServer

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


def test_a_link_restores_the_page(page, context, address):
    page.select_option("#activation", "formula")
    choose(page, formula="max(h, -1) + 0.5*sin(2*h)", depth=30, skip=0.99, amount=0.7)
    page.click("#lock")
    page.select_option("#activation", "softplus")
    choose(page, p_beta=2.5)
    page.check("[name=view][value=s]")
    page.select_option("#like", "tanh")
    page.click("#copy-link")
    sync_api.expect(page.locator("#note")).to_have_text("Copied the link.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(address)
    other = context.new_page()
    other.goto(link)
    for place in ("#headline", "#numbers", "#curves", "#python", "#density"):
        assert other.inner_text(place) == page.inner_text(place)
    assert other.input_value("#p-beta") == "2.5"
    assert other.is_checked("[name=view][value=s]")
    assert other.input_value("#like") == "tanh"
    other.evaluate("location.hash = '#activation=nonsense&depth=9&like=me&lock=amount%3D-1'")
    sync_api.expect(other.locator("#depth")).to_have_value("9")
    assert "The link says activation = nonsense" in note(other)
    assert "The link says like = me" in note(other)
    assert other.input_value("#like") == "relu"
    assert "A locked curve of the link is left out" in note(other)
    other.close()


def test_a_diagnosis_is_dropped_and_drawn_against_its_law(page, diagnosis):
    found, path = diagnosis
    drop(page, "diagnosis.json", path.read_text())
    assert note(page) == "Read diagnosis.json: diagnosis."
    card = page.inner_text("#files article")
    assert "ResNet (diagnosis.json)" in card
    assert found.findings[0] in card
    stated = re.search(r"its own law, c = ([\d.]+): ([\d.]+)", card)
    assert float(stated[1]) == pytest.approx(found.c, rel=1e-3)
    assert float(stated[2].rstrip(".")) == pytest.approx(found.comparison.ks_all, rel=1e-3)
    assert page.locator("#curves li").count() == 3
    assert page.locator("#density svg path[fill-opacity]").count() == 1
    page.get_by_role("button", name="Set the controls to its c").click()
    assert c_of(page) == pytest.approx(found.c, rel=1e-3)
    page.get_by_role("button", name=re.compile("^Remove ResNet")).click()
    assert page.locator("#files article").count() == 0


def test_a_file_is_chosen_by_the_button(page, diagnosis, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"spectrum": ')
    page.set_input_files("#file", [diagnosis[1], broken])
    sync_api.expect(page.locator("#note")).to_contain_text("broken")
    assert note(page).startswith(
        "broken.json is not JSON; expected what `isometry diagnose --json`"
    )
    assert page.locator("#files article").count() == 1


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ([1, 2], "holds a list; expected a diagnosis"),
        ({"a": 1}, "has a; expected a diagnosis"),
        ({"spectrum": {"values": [1, "x"]}}, "values that are no finite numbers"),
        ({"spectrum": {"values": [1, -2]}}, "missing, negative or too many"),
        ({"spectrum": {"values": [1, 2], "weights": [0.5]}}, "weights that do not fit"),
        ({"spectrum": {"values": [1]}, "c": -1, "scale": 1}, "has c = -1"),
        ({"findings": [{"rule": "zero"}]}, "a finding without a message"),
    ],
)
def test_a_malformed_file_is_a_sentence(page, record, sentence):
    drop(page, "wrong.json", json.dumps(record))
    assert sentence in note(page)
    assert note(page).startswith("wrong.json ")
    assert page.locator("#files article").count() == 0


def test_markup_in_a_file_stays_text(page):
    evil = "<img src=x onerror=alert(1)>"
    record = {
        "model": evil,
        "findings": [{"severity": "error", "parameter": evil, "message": evil}],
    }
    drop(page, "lint.json", json.dumps(record))
    assert evil in page.inner_text("#files article")
    assert page.locator("#files img").count() == 0


def test_pictures_and_tables_are_saved(page, tmp_path):
    with page.expect_download() as waited:
        page.click("#save-svg")
    waited.value.save_as(tmp_path / "a.svg")
    svg = (tmp_path / "a.svg").read_text()
    assert svg.startswith("<svg xmlns=") or 'xmlns="http://www.w3.org/2000/svg"' in svg
    assert "var(" not in svg
    with page.expect_download() as waited:
        page.click("#save-csv")
    waited.value.save_as(tmp_path / "a.csv")
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert rows[0] == "curve,kind,s,density of log lam,density of s,cdf"
    law = iso.UniversalLaw(1.0)
    s, density, _, cdf = map(float, rows[100].split('",')[1].split(",")[1:])
    assert density == pytest.approx(law.pdf(s**2) * s**2, rel=1e-6)
    assert cdf == pytest.approx(law.cdf(s**2), rel=1e-6)


def test_the_copied_lines_of_python_run_and_agree(page):
    page.select_option("#activation", "formula")
    choose(page, formula="h*erf(h) - 2^-h^2", depth=4, amount=0.4)
    page.select_option("#like", "")
    page.click("#copy-python")
    sync_api.expect(page.locator("#note")).to_have_text("Copied the lines of Python.")
    names = {}
    exec(page.evaluate("navigator.clipboard.readText()"), names)
    assert names["law"].c == pytest.approx(0.4)
    assert names["sigma_w"] == pytest.approx(number(page, "σ_w"), rel=1e-3)


def test_everything_is_reached_by_the_keyboard(page):
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or page.evaluate("document.activeElement === document.body")
    wanted = {
        "skip",
        "activation",
        "depth",
        "width",
        "sigma-b",
        "amount",
        "slider",
        "lock",
        "reset",
    }
    wanted |= {"save-svg", "save-csv", "copy-link", "like", "file", "python", "copy-python"}
    assert wanted <= reached
    assert page.get_attribute("#headline", "aria-live") == "polite"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_its_screen_and_can_be_read(browser, address, diagnosis, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address + "#activation=relu&lock=activation%3Dtanh")
    page.set_input_files("#file", diagnosis[1])
    page.wait_for_selector("#files article")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    size = page.evaluate(
        "(() => { const s = document.querySelector('#density svg'); "
        "return 13 * s.getBoundingClientRect().width / s.viewBox.baseVal.width; })()"
    )
    assert size > 11  # of letters in the figure, in pixels
    for place in ("body", "header p", "#warnings li", ".help"):
        assert contrast(page, place) >= 4.5
    heads = page.locator("#shares th[scope=row]").evaluate_all(
        "all => all.map(x => x.offsetHeight)"
    )
    assert max(heads) < 60  # a word is not broken into its letters
    context.close()


def contrast(page, selector):
    """The ratio of WCAG 2 between a text and what is behind it."""
    return page.evaluate(
        """(selector) => {
          const parts = (text) => text.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b].map((x) => x / 255)
            .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
            .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
          let node = document.querySelector(selector);
          const ink = light(parts(getComputedStyle(node).color));
          while (parts(getComputedStyle(node).backgroundColor)[3] === 0) node = node.parentElement;
          const paper = light(parts(getComputedStyle(node).backgroundColor));
          return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        }""",
        selector,
    )


def test_it_answers_within_50_ms(page):
    times = page.evaluate(
        """() => {
          const field = document.getElementById("amount");
          return Array.from({ length: 30 }, (_, i) => {
            field.value = String(1 + i / 100);
            const start = performance.now();
            field.dispatchEvent(new Event("input", { bubbles: true }));
            return performance.now() - start;
          });
        }"""
    )
    # the quickest third: what the page needs, and not who else is at work on the machine
    assert sorted(times)[9] < 50


def test_the_server_gives_the_same_page(context):
    with ExplorerServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            page = context.new_page()
            page.goto(server.url + "#amount=2")
            assert page.inner_text("#headline").startswith("c = 2:")
            page.close()
        finally:
            server.shutdown()
            thread.join()
