"""The architecture as the code has it: pictures of who imports whom, and what each room holds.

Both are made anew whenever the pages are built, from the import graph, from the order of the layers
that ``lint-imports`` enforces, and from the first line of each docstring.
"""

import ast
import importlib.util
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import grimp
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
CONTAINERS = ("isometry", "isometry.theory", "isometry.nn", "isometry.experiments")
_BOX, _HEIGHT, _GAP, _RISE, _MARGIN = 124, 34, 22, 62, 14

Rows = list[list[str]]
Arrows = dict[tuple[str, str], int]


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pictures and the tables before the pages are read."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    graph = grimp.build_graph("isometry", cache_dir=None)
    for container in CONTAINERS:
        name = container.rpartition(".")[2]
        arrows = imports(graph, container)
        shown = without_detours(arrows)
        layers = rows(container, children(graph, container))
        (folder / f"{name}.svg").write_text(picture(layers, shown))
        (folder / f"{name}.md").write_text(table(graph, container))


def children(graph: grimp.ImportGraph, container: str) -> set[str]:
    """Return the modules and packages directly in a package, the private ones left out."""
    return {child for child in graph.find_children(container) if "._" not in child}


def imports(graph: grimp.ImportGraph, container: str) -> Arrows:
    """Count the imports between the public children of a package, their insides included."""
    inside = {
        child: {child, *graph.find_descendants(child)} for child in children(graph, container)
    }
    owner = {module: child for child, modules in inside.items() for module in modules}
    found: Arrows = {}
    for module, child in owner.items():
        for target in graph.find_modules_directly_imported_by(module):
            other = owner.get(target, child)
            if other != child:
                key = (child.rpartition(".")[2], other.rpartition(".")[2])
                found[key] = found.get(key, 0) + 1
    return found


def without_detours(arrows: Arrows) -> Arrows:
    """Leave out an import that other arrows lead to as well: the picture keeps what decides."""
    direct: dict[str, set[str]] = {}
    for importer, imported in arrows:
        direct.setdefault(importer, set()).add(imported)

    def reach(start: str) -> set[str]:
        found, todo = set(), list(direct.get(start, ()))
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += direct.get(name, ())
        return found

    return {
        (importer, imported): count
        for (importer, imported), count in arrows.items()
        if not any(imported in reach(other) for other in direct[importer] - {imported})
    }


def rows(container: str, modules: set[str]) -> Rows:
    """Return the layers of a package from top to bottom; what no contract names goes below."""
    present = {module.rpartition(".")[2] for module in modules}
    named = [[name for name in row if name in present] for row in _contract(container)]
    rest = sorted(present.difference(*named))
    return [row for row in [*named, rest] if row]


def _contract(container: str) -> Rows:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for contract in settings["tool"]["importlinter"]["contracts"]:
        inside = contract.get("containers", ["isometry"])
        if contract["type"] == "layers" and inside == [container]:
            return [
                [part.strip("() ").rpartition(".")[2] for part in layer.split("|")]
                for layer in contract["layers"]
            ]
    raise LookupError(f"no layers of {container} in pyproject.toml")


def picture(layers: Rows, arrows: Arrows) -> str:
    """Draw boxes in rows, and an arrow from every importer to what it imports."""
    width = 2 * _MARGIN + max(len(row) * (_BOX + _GAP) - _GAP for row in layers)
    height = 2 * _MARGIN + len(layers) * (_HEIGHT + _RISE) - _RISE
    place = _places(layers, width)
    lines = [_arrow(place, arrow, count) for arrow, count in sorted(arrows.items())]
    boxes = [_box(name, *place[name]) for row in layers for name in row]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#57606a"/></marker>'
            "</defs>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )


def _places(layers: Rows, width: int) -> dict[str, tuple[float, float]]:
    """Return the middle of every box."""
    place = {}
    for number, row in enumerate(layers):
        left = (width - len(row) * (_BOX + _GAP) + _GAP) / 2
        for column, name in enumerate(row):
            x = left + column * (_BOX + _GAP) + _BOX / 2
            place[name] = (x, _MARGIN + number * (_HEIGHT + _RISE) + _HEIGHT / 2)
    return place


def _arrow(place: dict[str, tuple[float, float]], arrow: tuple[str, str], count: int) -> str:
    (x0, y0), (x1, y1) = place[arrow[0]], place[arrow[1]]
    if y0 == y1:
        side = 1 if x1 > x0 else -1
        x0, x1, lift = x0 + side * _BOX / 2, x1 - side * _BOX / 2, 0.0
    else:
        y0, y1, lift = y0 + _HEIGHT / 2, y1 - _HEIGHT / 2, _RISE / 2
    path = f"M{x0:.0f} {y0:.0f}C{x0:.0f} {y0 + lift:.0f} {x1:.0f} {y1 - lift:.0f} {x1:.0f} {y1:.0f}"
    return (
        f'<path d="{path}" fill="none" stroke="#57606a" stroke-width="1.2" stroke-opacity="0.6" '
        f'marker-end="url(#tip)"><title>{arrow[0]} imports {arrow[1]}: {count}</title></path>'
    )


def _box(name: str, x: float, y: float) -> str:
    corner = f'x="{x - _BOX / 2:.0f}" y="{y - _HEIGHT / 2:.0f}"'
    return (
        f'<rect {corner} width="{_BOX}" height="{_HEIGHT}" rx="6" fill="#eef4fb" stroke="#2f6fab"/>'
        f'<text x="{x:.0f}" y="{y + 4.5:.0f}" text-anchor="middle" fill="#1b1f24">'
        f"{escape(name)}</text>"
    )


def table(graph: grimp.ImportGraph, container: str) -> str:
    """Return what each child of a package is for, as its own docstring says in one line."""
    lines = ["| room or module | what it is for | files |", "|---|---|--:|"]
    for child in sorted(graph.find_children(container)):
        files = len({child, *graph.find_descendants(child)})
        name = child.rpartition(".")[2]
        if not name.startswith("__"):
            lines.append(f"| `{name}` | {_first_line(child)} | {files} |")
    return "\n".join(lines) + "\n"


def _first_line(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"{module} has no source")
    text: Sequence[str] = (
        ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
    ).splitlines()
    if not text:
        raise LookupError(f"{module} has no docstring")
    return text[0].replace("``", "`").replace("|", "\\|")
