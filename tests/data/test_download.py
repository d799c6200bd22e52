import contextlib
import hashlib
import http.server
import subprocess
import sys
import threading

import numpy as np
import pytest

from isometry.data.download import fetch, md5_of

CONTENT = np.random.default_rng(0).bytes(700_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    ranges = True  # whether Range is understood
    sent = len(CONTENT)  # bytes after which the connection is cut
    status: int | None = None  # an error to answer with
    content = CONTENT

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = 10

    @property
    def host(self):
        assert isinstance(self.server, Server)
        return self.server

    def do_GET(self):
        asked = self.headers.get("Range")
        self.host.asked.append(asked)
        start = int(asked[6:-1]) if asked and self.host.ranges else 0
        total = len(self.host.content)
        if self.host.status or start >= total:
            self.send_error(self.host.status or 416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        self.wfile.write(self.host.content[start : start + self.host.sent])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join(timeout=10)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "file.bin"


def part_of(target):
    return target.with_name("file.bin.part")


def leave_part(target, content):
    target.parent.mkdir()
    part_of(target).write_bytes(content)


def test_a_whole_file_arrives_under_its_final_name_only(server, target):
    seen = []
    assert fetch(server.url, target, md5=MD5, progress=lambda *at: seen.append(at)) == target
    assert md5_of(target) == MD5
    assert list(target.parent.iterdir()) == [target]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert server.asked == [None]


def test_a_whole_file_already_there_is_left_alone(server, target):
    fetch(server.url, target, md5=MD5)
    fetch(server.url, target, md5=MD5)
    assert len(server.asked) == 1


def test_a_wrong_file_under_the_final_name_is_not_overwritten(server, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"file\.bin \(4 bytes\) has MD5 .* Delete it"):
        fetch(server.url, target, md5=MD5)
    assert target.read_bytes() == b"mine"
    assert server.asked == []


def test_a_cut_connection_keeps_what_came_and_the_next_call_resumes(server, target):
    server.sent = 300_000
    with pytest.raises(OSError, match=r"300,000 of 700,000 bytes.*run it again to resume"):
        fetch(server.url, target, md5=MD5)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:300_000]
    server.sent = len(CONTENT)
    fetch(server.url, target, md5=MD5)
    assert server.asked == [None, "bytes=300000-"]
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()


def test_a_server_without_range_is_read_from_the_start(server, target):
    server.ranges = False
    leave_part(target, CONTENT[:1000])
    fetch(server.url, target, md5=MD5)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("old", [b"x" * 1000, CONTENT + b"x"], ids=["other content", "too long"])
def test_a_bad_part_is_thrown_away_and_the_file_fetched_whole(server, target, old):
    leave_part(target, old)
    fetch(server.url, target, md5=MD5)
    assert server.asked == [f"bytes={len(old)}-", None]
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_complete_already_needs_no_byte(server, target):
    leave_part(target, CONTENT)
    fetch(server.url, target, md5=MD5)
    assert target.read_bytes() == CONTENT


def test_a_wrong_digest_leaves_nothing_behind(server, target):
    server.content = b"<html>moved</html>"
    with pytest.raises(ValueError, match=rf"has MD5 .*; expected {MD5}.*Nothing was kept"):
        fetch(server.url, target, md5=MD5)
    assert list(target.parent.iterdir()) == []


def test_a_refusal_of_the_server_names_its_status(server, target):
    server.status = 503
    with pytest.raises(OSError, match="answered 503"):
        fetch(server.url, target, md5=MD5)


def test_a_dead_address_says_so(server, target):
    server.server_close()
    server.shutdown()
    with pytest.raises(OSError, match=r"could not be read .*0 bytes are kept"):
        fetch(server.url, target, md5=MD5)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "cifar.tar.gz", ""])
def test_only_http_addresses_are_opened(target, url):
    with pytest.raises(ValueError, match=r"`url` is .*; expected an address"):
        fetch(url, target, md5=MD5)


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(OSError, match=r"file\.bin\.part cannot be written .*`data_dir`"):
        fetch(server.url, tmp_path / "folder" / "file.bin", md5=MD5)


@pytest.mark.skipif(sys.platform == "win32", reason="file locks are POSIX")
def test_two_processes_do_not_write_one_file(server, target):
    target.parent.mkdir()
    hold = (
        "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(part_of(target))]
    with contextlib.ExitStack() as stack:
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.enter_context(other)
        stack.callback(other.kill)
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OSError, match="another process"):
            fetch(server.url, target, md5=MD5)
    assert not target.exists()
