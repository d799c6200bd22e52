"""A list of the pages for language models, ``llms.txt``, made from the table of contents itself.

It follows llmstxt.org: a title, a summary as a quotation, then a list of links for every part, each
with the first sentence of its page.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the list when the pages are built."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True}


def _write(app: Sphinx, failed: Exception | None) -> None:
    if failed is None and app.builder.format == "html":
        (Path(app.outdir) / "llms.txt").write_text(listed(app), encoding="utf-8")


def listed(app: Sphinx) -> str:
    """Return the list of all pages that the index leads to, in its parts."""
    root = app.env.get_doctree(app.config.root_doc)
    lines = [f"# {app.config.project}", "", f"> {first_paragraph(root)}"]
    for toctree in root.findall(addnodes.toctree):
        lines += ["", f"## {toctree['caption'] or 'Pages'}", ""]
        for page in [p for _, name in toctree["entries"] for p in _with_inner(app, name, set())]:
            title = app.env.titles[page].astext()
            said = first_sentence(app.env.get_doctree(page))
            place = app.builder.get_target_uri(page)
            lines.append(f"- [{title}]({place})" + (f": {said}" if said else ""))
    return "\n".join(lines) + "\n"


def _with_inner(app: Sphinx, name: str, seen: set[str]) -> Iterator[str]:
    """Go through a page and the pages of its own tables of contents."""
    if name in seen or name not in app.env.found_docs:
        return
    seen.add(name)
    yield name
    for toctree in app.env.get_doctree(name).findall(addnodes.toctree):
        for _, inner in toctree["entries"]:
            yield from _with_inner(app, inner, seen)


def first_paragraph(tree: nodes.document) -> str:
    """Return the first paragraph of a page's own text; empty without."""
    found = (p for p in tree.findall(nodes.paragraph) if isinstance(p.parent, nodes.section))
    first = next(found, None)
    return "" if first is None else " ".join(first.astext().split())


def first_sentence(tree: nodes.document) -> str:
    """Return the first sentence of a page, and the next where that is a word or two."""
    first, *others = re.split(r"(?<=[.?!]) (?=[A-Z])", first_paragraph(tree))
    return " ".join([first, *others[:1]]) if len(first.split()) < 3 else first
