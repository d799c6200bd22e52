import http.client
import socket
import threading

import pytest

from isometry.web.page import explorer_page
from isometry.web.server import ExplorerServer


@pytest.fixture(scope="module")
def server():
    with ExplorerServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(server, path="/", *, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


def raw(server, request):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as line:
        line.sendall(request.encode())
        line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(65536), b"")).decode()


def test_it_serves_the_page_to_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"
    answer, body = ask(server)
    assert (answer.status, body) == (200, explorer_page())
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Access-Control-Allow-Origin") is None
    assert ask(server, host=f"localhost:{server.server_port}")[0].status == 200
    assert ask(server, "/?x=1")[0].status == 200


def test_head_has_the_length_and_no_body(server):
    answer, body = ask(server, method="HEAD")
    assert (answer.status, body) == (200, "")
    assert int(answer.getheader("Content-Length")) == len(explorer_page().encode())


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
        "/page.py", "/assets/style.css", "/index.html", "/..\\..\\x", "http://127.0.0.1/", "*",
    ],
)  # fmt: skip
def test_every_other_path_is_nothing(server, path):
    answer, body = ask(server, path)
    assert answer.status == 404
    assert "root:" not in body
    assert len(body) < 100


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "0.0.0.0", "[::1]:80", "x y"],
)
def test_a_foreign_host_is_refused(server, host):
    answer, body = ask(server, host=host)
    assert answer.status == 403
    assert "explorer" not in body


def test_no_host_and_two_hosts_are_refused(server):
    port = server.server_port
    assert "403" in raw(server, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").splitlines()[0]
    two = f"Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n"
    assert "403" in raw(server, f"GET / HTTP/1.1\r\n{two}\r\n").splitlines()[0]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_answers_no_method_that_changes_something(server, method):
    assert ask(server, method=method)[0].status == 501


def test_a_port_that_is_taken_is_one_sentence(server):
    with pytest.raises(OSError, match=rf"`port` is {server.server_port}.*Use 0 to take any"):
        ExplorerServer(server.server_port)


@pytest.mark.parametrize(
    ("port", "error"), [(-1, ValueError), (65536, ValueError), ("x", TypeError)]
)
def test_a_port_is_a_number_of_16_bits(port, error):
    with pytest.raises(error, match="`port`"):
        ExplorerServer(port)
