import base64
import hashlib
import html.parser
import re
import subprocess

import pytest

from cases_web import ASSETS, node
from isometry.web.page import asset, explorer_page, write_explorer

PAGE = explorer_page()


def test_the_page_is_small_and_loads_nothing():
    assert len(PAGE.encode()) < 300_000
    assert re.findall(r"""(?:src|href)=["']([^"'#]+)""", PAGE.split("<script")[0]) == ["data:,"]
    assert re.findall(r"\b(?:fetch|XMLHttpRequest|WebSocket|importScripts|eval)\b\(", PAGE) == []
    assert "innerHTML" not in PAGE
    # the namespace of SVG is a name, not an address
    assert set(re.findall(r"https?://[^\"'\s]+", PAGE)) == {"http://www.w3.org/2000/svg"}


def test_every_module_is_in_the_page_behind_those_that_it_needs():
    modules = sorted(str(path.relative_to(ASSETS)) for path in ASSETS.rglob("*.js"))
    places = {name: PAGE.index(f"\n// {name}\n") for name in modules}
    assert len(places) > 10
    assert max(places, key=places.get) == "page/main.js"
    assert places["theory/special.js"] < places["theory/law.js"] < places["theory.js"]
    assert re.findall(r"^(?:import|export) .*", PAGE, re.MULTILINE) == []


def test_the_policy_has_the_digests_of_the_script_and_the_style():
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', PAGE)[1]
    script = re.search(r'<script type="module">(.*?)</script>', PAGE, re.DOTALL)[1]
    style = re.search(r"<style>(.*?)</style>", PAGE, re.DOTALL)[1]
    for text in (script, style):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_node_finds_no_fault_in_the_script(tmp_path):
    script = re.search(r'<script type="module">(.*?)</script>', PAGE, re.DOTALL)[1]
    path = tmp_path / "page.mjs"
    path.write_text(script)
    subprocess.run([node(), "--check", path], check=True, capture_output=True)
    path.write_text(script + "const 1 = 2;")
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([node(), "--check", path], check=True, capture_output=True)


class Labels(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.fields, self.named, self.inside = [], set(), 0

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "label":
            self.inside += 1
            self.named.add(attributes.get("for"))
        if tag in ("input", "select"):
            labelled = self.inside or "aria-label" in attributes
            self.fields.append((attributes.get("id"), bool(labelled)))

    def handle_endtag(self, tag):
        self.inside -= tag == "label"


def test_every_control_has_a_label():
    found = Labels()
    found.feed(asset("index.html"))
    assert len(found.fields) > 15
    assert [name for name, ok in found.fields if not ok and name not in found.named] == []


def test_it_is_written_as_it_is(tmp_path):
    write_explorer(tmp_path / "explorer.html")
    assert (tmp_path / "explorer.html").read_bytes() == PAGE.encode()


def test_no_source_is_longer_than_350_lines():
    sizes = {path.name: len(path.read_text().splitlines()) for path in ASSETS.rglob("*.*")}
    assert {name for name, size in sizes.items() if size > 350} == set()
