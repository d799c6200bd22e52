"""What a release is made of says the same thing in every place."""

import importlib.metadata
import pathlib
import re
import tomllib

import isometry

ROOT = pathlib.Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def outside_the_repository(text):
    """Return the README as the wheel describes itself with it."""
    for rule in SETTINGS["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"][
        "substitutions"
    ]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    return text


def links(text):
    return [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]


def test_the_version_is_written_once():
    assert "version" not in SETTINGS["project"]
    place = ROOT / SETTINGS["tool"]["hatch"]["version"]["path"]
    written = [
        path
        for path in (ROOT / "src").rglob("*.py")
        if re.search(r"^__version__ = ", path.read_text(), re.MULTILINE)
    ]
    assert written == [place]
    assert importlib.metadata.version("isometry") == isometry.__version__
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited[1] == isometry.__version__


def test_what_the_readme_links_to_exists():
    found = links((ROOT / "README.md").read_text())
    assert len(found) > 5
    assert [link for link in found if not (ROOT / link).exists()] == []


def test_outside_the_repository_the_readme_has_no_link_that_leads_nowhere():
    text = outside_the_repository((ROOT / "README.md").read_text())
    assert links(text) == []
    assert "![" not in text
    assert "`docs/theory.md`" in text  # a path of the source distribution
    assert "https://arxiv.org/abs/1809.08848" in text


def test_every_extra_is_pinned_for_development():
    extras = SETTINGS["project"]["optional-dependencies"]
    names = {
        re.split(r"[<>=\[]", text)[0]
        for key in ("nn", "plot", "cli", "docs")
        for text in extras[key]
    }
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().split()}
    assert names - {"isometry"} <= pinned
