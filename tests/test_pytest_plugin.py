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


def test_the_plug_in_loads_nothing():
    code = "import sys, isometry_pytest; print('torch' in sys.modules, 'isometry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
