"""The pytest plug-in: golden files of initialisations beside the tests that use them.

It loads nothing until a test asks for the fixture.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes golden files anew."""
    parser.addoption(
        "--isometry-update", action="store_true", help="write the golden files of isometry anew"
    )


@pytest.fixture
def isometry_golden(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a function that holds a model to the golden file of this test.

    Called as ``isometry_golden(model, x, name=None, recipe=None)``. The file is
    ``golden/<test>.json`` beside the test's own, or ``golden/<name>.json``. ``--isometry-update``
    writes it; a file that does not exist fails.
    """
    folder = Path(request.node.path).parent / "golden"

    def check(model: Any, x: Any = None, *, name: str | None = None, **options: Any) -> Any:
        from isometry.nn.linting.gate import assert_initialised  # noqa: PLC0415
        from isometry.nn.linting.golden import save_golden  # noqa: PLC0415

        path = folder / f"{name or request.node.name}.json"
        if request.config.getoption("--isometry-update"):
            report = assert_initialised(model, x, **options)
            folder.mkdir(exist_ok=True)
            save_golden(report, path)
            return report
        if not path.is_file():
            pytest.fail(f"there is no golden file {path}; write it with `pytest --isometry-update`")
        return assert_initialised(model, x, golden=path, **options)

    return check
