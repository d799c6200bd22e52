"""The explorer from this machine to this machine: one page, and nothing else.

It listens on 127.0.0.1 alone. A page of somebody else can make a browser ask a local server under a
name of its own (DNS rebinding), so a request whose Host header is not this server's is refused.
"""

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from isometry._checks import check_integer
from isometry._typing import Integer
from isometry.web.page import explorer_page

HOST = "127.0.0.1"
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class ExplorerServer(ThreadingHTTPServer):
    """Serve the explorer at ``http://127.0.0.1:<port>/`` until ``shutdown``.

    Args:
        port: The port; 0 takes a free one, which ``server_port`` then is.

    Raises:
        TypeError: If ``port`` is not an integer.
        ValueError: If it is outside [0, 65535].
        OSError: If the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = False  # two explorers on one port would answer by chance

    def __init__(self, port: Integer = 0) -> None:
        number = check_integer("port", port, minimum=0, maximum=65535)
        try:
            super().__init__((HOST, number), _Handler)
        except OSError as error:
            raise OSError(
                error.errno,
                f"`port` is {number}, which cannot be listened on ({error.strerror}); expected a "
                "free port. Use 0 to take any",
            ) from None

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: ExplorerServer  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version = "isometry"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a page that is opened is no news."""

    def _answer(self, *, with_body: bool) -> None:
        status, text, kind = self._found()
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _found(self) -> tuple[HTTPStatus, str, str]:
        """Return the page for its one address, and a sentence for any other."""
        hosts = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        if self.headers.get_all("Host", []) not in [[host] for host in hosts]:
            return HTTPStatus.FORBIDDEN, "This server answers to its own name only.\n", "text/plain"
        # No path is ever looked up on the disk: there is one page, held in memory.
        if self.path.partition("?")[0] != "/":
            return HTTPStatus.NOT_FOUND, "There is one page here, at /.\n", "text/plain"
        return HTTPStatus.OK, explorer_page(), "text/html"
