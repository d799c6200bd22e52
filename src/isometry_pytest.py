"""The pytest plug-in: golden files of initialisations beside the tests that use them.

It loads nothing until a test asks for the fixture.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

_WRITTEN = pytest.StashKey[dict[Path, str]]()
"""Golden files that this run has written, with the tests that wrote them."""


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
    writes it; a file that does not exist fails, and so do two tests, or two calls, of one name.
    """
    folder = Path(request.node.path).parent / "golden"
    written = request.config.stash.setdefault(_WRITTEN, {})
    own: set[Path] = set()

    def check(model: Any, x: Any = None, *, name: str | None = None, **options: Any) -> Any:
        from isometry.nn.linting.gate import assert_initialised  # noqa: PLC0415

        __tracebackhide__ = True
        path = folder / f"{name or quote(request.node.name, safe='[]=,+ ()')}.json"
        if not request.config.getoption("--isometry-update"):
            if not path.is_file():
                pytest.fail(
                    f"there is no golden file {path}; write it with `pytest --isometry-update`"
                )
            return assert_initialised(model, x, golden=path, **options)
        other = written.get(path, request.node.nodeid)
        if path in own or other != request.node.nodeid:
            pytest.fail(
                f"{path} was written by {other} already; give every call a file of its own: "
                "`isometry_golden(model, x, name=...)`"
            )
        report = assert_initialised(model, x, **options)
        _write(report, path)
        own.add(path)
        written[path] = request.node.nodeid
        return report

    return check


def _write(report: Any, path: Path) -> None:
    from isometry.nn.linting.golden import save_golden  # noqa: PLC0415

    __tracebackhide__ = True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_golden(report, path)
        return
    except OSError as error:
        reason = error.strerror
    pytest.fail(f"the golden file {path} cannot be written: {reason}")
