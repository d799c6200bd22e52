"""The command that opens the explorer, or writes it into a file."""

import webbrowser
from pathlib import Path

from isometry.cli.output import check_place, complain
from isometry.web.page import write_explorer
from isometry.web.server import ExplorerServer


def web(*, write: Path | None = None, port: int = 0, browser: bool = False) -> None:
    """Explore c, the law and a measured spectrum on a page in the browser.

    Args:
        write: Write the page into a self-contained .html file instead of serving it.
        port: Port on 127.0.0.1; a free one without.
        browser: Open the page in the default browser.
    """
    if write is not None:
        check_place("--write", write, ".html")
        write_explorer(write)
        complain("written", write)
        if browser:
            webbrowser.open(write.absolute().as_uri())
        return
    with ExplorerServer(port) as server:
        print(server.url, flush=True)  # noqa: T201
        complain("serving", "to this machine only; stop with Ctrl-C.")
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            complain("stopped", "by the keyboard.")
