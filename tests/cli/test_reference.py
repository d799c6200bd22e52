import sys

import pytest

from isometry.cli.reference import load_object

FILE = "value = 3\n\nclass Holder:\n    inner = 4\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "plain_file.py").write_text(FILE)
    (tmp_path / "json.py").write_text("value = 'not the standard library'\n")
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sibling.py").write_text("value = 5\n")
    (package / "part.py").write_text("from .sibling import value\n")
    (tmp_path / "broken_file.py").write_text("import no_such_thing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def load(reference):
    return load_object("MODEL", reference, "a number")


@pytest.mark.parametrize("where", ["plain_file", "plain_file.py", "./plain_file.py"])
def test_a_module_and_its_file_are_the_same(where, folder):
    assert load(f"{where}:value") == 3
    assert load(f"{where}:Holder.inner") == 4
    assert load(f"{folder}/plain_file.py:value") == 3


def test_a_file_in_a_package_keeps_its_relative_imports(folder):
    assert load("their_package/part.py:value") == 5
    assert load("their_package.part:value") == 5


def test_a_file_called_like_a_loaded_module_is_the_file(folder):
    assert load("./json.py:value") == "not the standard library"
    assert sys.modules["json"].__name__ == "json"
    assert hasattr(sys.modules["json"], "loads")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("plain_file", "expected `module:callable`, e.g. `net:make`."),
        ("plain_file.py", "Name what is in the file: `plain_file.py:make`."),
        ("plain_file.py:", "expected `module:callable`"),
        ("plain_file:valu", "has no 'valu'; expected a number. Did you mean 'value'?"),
        ("./plain_file:value", "Did you mean `./plain_file.py`?"),
        ("./no_file.py:value", "expected an existing .py file."),
        ("no_module:value", "there is no module 'no_module'"),
    ],
)
def test_what_is_not_there_is_explained(reference, message, folder):
    with pytest.raises(ValueError, match="`MODEL`") as caught:
        load(reference)
    assert message in str(caught.value)


def test_what_the_file_itself_misses_is_its_own_error(folder):
    for reference in ("broken_file:make", "broken_file.py:make"):
        with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
            load(reference)
    assert "broken_file" not in sys.modules
