import importlib.metadata
import re
import subprocess
import sys

import pytest

from isometry.cli.extras import _EXTRAS, with_advice

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))
from isometry.cli import main
main({words!r})
"""


def run_without(missing, words, folder):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing, words=words)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["demo"],
        ["diagnose", "net:make", "--input", "x.pt"],
        ["init", "net:make", "--input", "x.pt", "--save", "y.safetensors"],
        ["reproduce", "--profile", "smoke"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_without_torch_names_what_to_install(words, tmp_path):
    (tmp_path / "net.py").write_text("def make():\n    return None\n")
    (tmp_path / "x.pt").touch()
    done = run_without(["torch"], words, tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: .* needs torch; run `pip install 'isometry\[\w+\]'`\.\n", done.stderr
    )
    assert list(tmp_path.glob("runs*")) == []


def test_the_commands_of_the_theory_need_no_torch(tmp_path):
    done = run_without(["torch", "matplotlib", "safetensors"], ["law", "--c", "1"], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", _EXTRAS)
def test_an_extra_that_is_advised_brings_the_package(package):
    name = {"sklearn": "scikit-learn", "PIL": "pillow"}.get(package, package)
    wanted = {
        text.split(";")[0]
        for text in importlib.metadata.requires("isometry")
        if f"extra == '{_EXTRAS[package]}'" in text.replace('"', "'")
    }
    assert any(re.split(r"[<>=\[!~ ]", text)[0] == name for text in wanted)


def test_a_module_that_is_not_ours_to_install_is_left_as_it_is():
    error = ModuleNotFoundError("No module named 'timm'", name="timm")
    assert with_advice(error) is error
    deep = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    assert "isometry[nn]" in str(with_advice(deep))
