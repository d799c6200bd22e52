import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
INDEX = """# net

What it is. And more.

```{toctree}
:caption: Use it
one
sub/index
```

```{toctree}
:caption: Look it up
two
```
"""


@pytest.fixture
def built(tmp_path):
    pytest.importorskip("sphinx", reason="the [docs] extra is not installed")
    spec = importlib.util.spec_from_file_location("llms", ROOT / "docs" / "_ext" / "llms.py")
    llms = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(llms)
    from sphinx.application import Sphinx

    def build(pages):
        source, out = tmp_path / "pages", tmp_path / "out"
        for name, text in ({"index.md": INDEX} | pages).items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        config = {"extensions": ["myst_parser"], "project": "net"}
        app = Sphinx(
            source, None, out, tmp_path / "trees", "html", config, status=None, warning=None
        )
        llms.setup(app)
        app.build()
        return (out / "llms.txt").read_text()

    return build


@pytest.mark.filterwarnings("ignore")  # of what Sphinx itself calls
def test_the_list_has_every_page_of_the_index_in_its_part_with_its_first_sentence(built):
    pages = {
        "one.md": "# First\n\nOne [link](two.md) of $x$ e.g. this. Another sentence.\n",
        "two.md": "# Second\n\n| a | b |\n|---|---|\n| cell | c |\n\n## A part\n",
        "sub/index.md": "# Inside\n\n**Decision.** All of it. Why.\n\n```{toctree}\nthree\n```\n",
        "sub/three.md": "# Third\n\nShort\n",
        "orphan.md": "---\norphan: true\n---\n# Nowhere\n\nNot in the index.\n",
    }
    assert built(pages) == (
        "# net\n\n> What it is. And more.\n\n"
        "## Use it\n\n"
        "- [First](one.html): One link of $x$ e.g. this.\n"
        "- [Inside](sub/index.html): Decision. All of it.\n"
        "- [Third](sub/three.html): Short\n\n"
        "## Look it up\n\n"
        "- [Second](two.html)\n"
    )
