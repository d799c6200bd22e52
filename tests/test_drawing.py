"""The pictures of the architecture, which `make docs` draws from the import graph."""

import importlib.util
import pathlib
import xml.etree.ElementTree as ET

import grimp
import pytest

PATH = pathlib.Path(__file__).parent.parent / "docs" / "_ext" / "rooms.py"


@pytest.fixture(scope="module")
def rooms():
    pytest.importorskip("sphinx", reason="the [docs] extra is not installed")
    spec = importlib.util.spec_from_file_location("rooms", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("isometry", cache_dir=None)


@pytest.mark.parametrize("container", ["isometry", "isometry.theory", "isometry.nn"])
def test_no_arrow_of_a_picture_points_upwards(rooms, graph, container):
    layers = rooms.rows(container, rooms.children(graph, container))
    level = {name: number for number, row in enumerate(layers) for name in row}
    arrows = rooms.imports(graph, container)
    assert len(arrows) > 5
    assert all(level[importer] <= level[imported] for importer, imported in arrows)


def test_an_import_that_others_lead_to_is_left_out(rooms):
    arrows = {("a", "b"): 1, ("b", "c"): 2, ("a", "c"): 3, ("a", "d"): 4}
    assert rooms.without_detours(arrows) == {("a", "b"): 1, ("b", "c"): 2, ("a", "d"): 4}


def test_a_picture_has_a_box_for_every_module_and_an_arrow_for_every_import(rooms):
    image = ET.fromstring(rooms.picture([["a"], ["b", "c"]], {("a", "b"): 1, ("a", "c"): 2}))
    space = "{http://www.w3.org/2000/svg}"
    assert [text.text for text in image.iter(f"{space}text")] == ["a", "b", "c"]
    assert sum("marker-end" in path.attrib for path in image.iter(f"{space}path")) == 2


def test_the_table_of_rooms_says_what_each_is_for(rooms, graph):
    table = rooms.table(graph, "isometry.nn")
    assert "| `tape` | The recording of a forward pass" in table
