"""The tutorials as pages: each script runs when the pages are built, cell by cell.

A cell is a comment at the left edge and the code below it. On the page the comment is text, and
behind the code stands what it printed and drew. The script stays a script: `python tutorials/...`.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import tokenize
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parents[2]
_WIDTH = 100
"""Characters of a printed line, of which what is longer scrolls."""


@dataclass(frozen=True)
class Cell:
    """Text, the code below it, and the line at which that begins."""

    text: str
    code: str
    line: int


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before they are read."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "generated" / "tutorials"
    folder.mkdir(parents=True, exist_ok=True)
    scripts = sorted((ROOT / "tutorials").glob("*.py"))
    with ThreadPoolExecutor(2) as pool:
        for script, run in zip(scripts, pool.map(lambda s: _run(s, folder), scripts), strict=True):
            if run.returncode:
                raise ExtensionError(f"{script.name} failed:\n{run.stderr}")


def _run(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one script in a process of its own, since scripts seed and patch what they like."""
    env = os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__, str(script), str(folder)]
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


def cells(source: str) -> tuple[str, str, list[Cell]]:
    """Return the title, the introduction and the cells of a script.

    Args:
        source: A docstring, whose first line is the title, and code.

    Raises:
        ValueError: If it does not begin with a docstring.
    """
    head = re.match(r'"""(.+?)\n\n?(.*?)"""\n', source, re.DOTALL)
    if head is None:
        raise ValueError("a tutorial begins with a docstring whose first line is its title.")
    starts = _comments(source)
    lines = source.splitlines()
    first = head[0].count("\n")
    found = []
    for start, stop in zip([first, *starts], [*starts, len(lines)], strict=True):
        block = lines[start:stop]
        text = [line for line in block if line.startswith("#")] if start in starts else []
        count = next((i for i, line in enumerate(block) if not line.startswith("#")), len(block))
        said = "\n".join(re.sub("^# ?", "", line) for line in text[:count])
        at = start + (count if text else 0)
        found.append(Cell(said, "\n".join(lines[at:stop]).strip("\n"), at))
    return head[1].rstrip("."), head[2].strip(), [cell for cell in found if cell.text or cell.code]


def _comments(source: str) -> list[int]:
    """Return where a comment at the left edge follows an empty line."""
    lines = source.splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    places = [t.start[0] - 1 for t in tokens if t.type == tokenize.COMMENT and t.start[1] == 0]
    return [place for place in places if place and not lines[place - 1].strip()]


def page(script: Path, folder: Path) -> str:
    """Run a script and return its page; figures go into the folder.

    Args:
        script: The script.
        folder: Where the page will be.
    """
    title, intro, parts = cells(script.read_text())
    space: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    written = [f"# {title}", intro]
    count = 0
    for cell in parts:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile("\n" * cell.line + cell.code, script, "exec"), space)
        written += [cell.text, f"```python\n{cell.code}\n```" if cell.code else ""]
        if said.getvalue().strip():
            written.append(f"```text\n{said.getvalue().strip(chr(10))}\n```")
        for svg in _drawn():
            count += 1
            name = f"{script.stem}-{count}.svg"
            (folder / name).write_text(svg)
            written.append(f"![{_words(cell.text or title)}]({name})")
    written.append(f"*Made by running `python tutorials/{script.name}` when the pages were built.*")
    return "\n\n".join(part for part in written if part) + "\n"


def _words(text: str) -> str:
    """Return what a picture is called for those who do not see it: the first sentence."""
    plain = re.sub(r"[\[\]`*]|\b\d\. ", "", " ".join(text.split()))
    return plain.partition(". ")[0]


def _drawn() -> list[str]:
    """Return the figures that stand open, as SVG on white, and close them."""
    if "matplotlib.pyplot" not in sys.modules:
        return []
    pyplot = sys.modules["matplotlib.pyplot"]
    found = []
    for number in pyplot.get_fignums():
        text = io.StringIO()
        pyplot.figure(number).savefig(text, format="svg", metadata={"Date": None})
        found.append(text.getvalue())
    pyplot.close("all")
    return found


if __name__ == "__main__":
    made, place = Path(sys.argv[1]), Path(sys.argv[2])
    (place / f"{made.stem}.md").write_text(page(made, place))
