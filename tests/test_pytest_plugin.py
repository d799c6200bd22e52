import subprocess
import sys

TEST = """
import torch
from torch import nn

SEED, STD = 0, 0.1

def test_the_initialisation(isometry_golden):
    torch.manual_seed(SEED)
    net = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    for m in net[::2]:
        nn.init.normal_(m.weight, std=STD)
        nn.init.zeros_(m.bias)
    isometry_golden(net, torch.ones(1, 64))
"""


def pytest_in(folder, *words):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    if "isometry_pytest" not in registered():
        command += ["-p", "isometry_pytest"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def registered():
    from importlib.metadata import entry_points

    return {point.value for point in entry_points(group="pytest11")}


def test_a_golden_file_is_written_and_then_held_to(tmp_path):
    path = tmp_path / "test_init.py"
    path.write_text(TEST)
    absent = pytest_in(tmp_path)
    assert absent.returncode == 1
    assert "there is no golden file" in absent.stdout
    assert pytest_in(tmp_path, "--isometry-update").returncode == 0
    assert (tmp_path / "golden" / "test_the_initialisation.json").is_file()
    path.write_text(TEST.replace("SEED, STD = 0, 0.1", "SEED, STD = 1, 0.1"))
    assert pytest_in(tmp_path).returncode == 0
    path.write_text(TEST.replace("STD = 0, 0.1", "STD = 0, 0.12"))
    wrong = pytest_in(tmp_path)
    assert wrong.returncode == 1
    assert "golden: `0.weight, 2.weight`" in wrong.stdout
    assert "def assert_initialised" not in wrong.stdout


NAMES = """
import pytest
from torch import nn

def held(isometry_golden, **options):
    isometry_golden(nn.Linear(4, 4), **options)

@pytest.mark.parametrize("word", ["a/b", "a%2Fb", "x y", "../up"])
def test_any_identifier(isometry_golden, word):
    held(isometry_golden)

def test_a_folder_in_the_name(isometry_golden):
    held(isometry_golden, name="deep/er")

class TestOne:
    def test_same(self, isometry_golden):
        held(isometry_golden)

class TestTwo:
    def test_same(self, isometry_golden):
        held(isometry_golden)

def test_twice(isometry_golden):
    held(isometry_golden)
    held(isometry_golden)

def test_no_place(isometry_golden):
    held(isometry_golden, name="in_the_way.json/file")
"""


def test_every_test_has_a_file_of_its_own_or_fails_in_a_sentence(tmp_path):
    (tmp_path / "test_names.py").write_text(NAMES)
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "in_the_way.json").touch()
    done = pytest_in(tmp_path, "--isometry-update", "--tb=short")
    assert "3 failed, 6 passed" in done.stdout, done.stdout
    assert "was written by test_names.py::TestOne::test_same already; give every" in done.stdout
    assert "was written by test_names.py::test_twice already; give every" in done.stdout
    assert "in_the_way.json/file.json cannot be written: " in done.stdout
    assert "During handling of" not in done.stdout
    assert {path.name for path in (tmp_path / "golden").iterdir()} == {
        "test_any_identifier[a%2Fb].json", "test_any_identifier[a%252Fb].json",
        "test_any_identifier[x y].json", "test_any_identifier[..%2Fup].json",
        "deep", "in_the_way.json", "test_same.json", "test_twice.json",
    }  # fmt: skip
    assert not list(tmp_path.parent.glob("*.json"))


def test_the_plug_in_loads_nothing():
    code = "import sys, isometry_pytest; print('torch' in sys.modules, 'isometry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
