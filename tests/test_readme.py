import pathlib
import re

import pytest

README = pathlib.Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_the_readme_runs(code):
    exec(compile(code, str(README), "exec"), {})


def test_the_readme_has_blocks_to_run_and_is_short():
    assert len(BLOCKS) >= 2
    assert len(README.read_text().splitlines()) <= 150
