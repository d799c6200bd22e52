import contextlib
import errno
import hashlib
import http.server
import resource
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from isometry.data import download
from isometry.data.download import fetch, md5_of

CONTENT = np.random.default_rng(0).bytes(700_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    ranges = True  # whether Range is understood
    sent: int | None = len(CONTENT)  # bytes after which the connection is cut
    status: int | None = None  # an error to answer with
    content = CONTENT
    length: str | None = "true"  # what Content-Length says
    place: str | None = None  # where a redirection leads
    wrote = 0

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
        if self.host.place and self.path != "/elsewhere":
            self.send_response(302)
            self.send_header("Location", self.host.place)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        said = str(total - start) if self.host.length == "true" else self.host.length
        if said is not None:
            self.send_header("Content-Length", said)
        self.end_headers()
        end = total if self.host.sent is None else start + self.host.sent
        with contextlib.suppress(ConnectionError):
            for at in range(start, min(end, total), 1 << 16):
                self.wfile.write(self.host.content[at : min(at + (1 << 16), end)])
                self.host.wrote += 1 << 16

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
    assert (
        fetch(server.url, target, md5=MD5, size=len(CONTENT), progress=lambda *at: seen.append(at))
        == target
    )
    assert md5_of(target) == MD5
    assert list(target.parent.iterdir()) == [target]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert server.asked == [None]


def test_a_whole_file_already_there_is_left_alone(server, target):
    fetch(server.url, target, md5=MD5, size=len(CONTENT))
    fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert len(server.asked) == 1


def test_a_wrong_file_under_the_final_name_is_not_overwritten(server, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"file\.bin \(4 bytes\) has MD5 .* Delete it"):
        fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert target.read_bytes() == b"mine"
    assert server.asked == []


def test_a_cut_connection_keeps_what_came_and_the_next_call_resumes(server, target):
    server.sent = 300_000
    with pytest.raises(OSError, match=r"300,000 of 700,000 bytes.*run it again to resume"):
        fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:300_000]
    server.sent = len(CONTENT)
    fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert server.asked == [None, "bytes=300000-"]
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()


def test_a_server_without_range_is_read_from_the_start(server, target):
    server.ranges = False
    leave_part(target, CONTENT[:1000])
    fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("old", [b"x" * 1000, CONTENT + b"x"], ids=["other content", "too long"])
def test_a_bad_part_is_thrown_away_and_the_file_fetched_whole(server, target, old):
    leave_part(target, old)
    fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert server.asked[-1] is None
    assert len(server.asked) == 1 + (len(old) < len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_complete_already_needs_no_byte(server, target):
    leave_part(target, CONTENT)
    fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_a_wrong_digest_leaves_nothing_behind(server, target):
    server.content = b"<html>moved</html>"
    with pytest.raises(ValueError, match=rf"has MD5 .*; expected {MD5}.*Nothing was kept"):
        fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("said", [None, "abc", "-5", "", "9" * 30, "0x10", "5\xb2"])
def test_a_length_that_makes_no_sense_is_not_believed(server, target, said):
    server.length = said
    fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("said", [None, str(len(CONTENT) + 1), str(10**14)])
def test_a_server_that_sends_more_than_the_file_is_cut_off(server, target, said):
    server.content, server.sent, server.length = CONTENT + bytes(1 << 24), None, said
    with pytest.raises(ValueError, match=r"or more; expected the file's 700,000. Nothing was kept"):
        fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert list(target.parent.iterdir()) == []
    assert server.wrote < 1 << 23


@pytest.mark.parametrize(
    "place",
    [
        "ftp://127.0.0.1/file.bin", "file:///etc/hostname", "data:,x", "FTP://127.0.0.1/x",
        "http://[", "http://127.0.0.1:port/", f"http://{'a' * 70}.invalid/",
    ],
)  # fmt: skip
def test_a_redirection_is_followed_to_http_only(server, target, place):
    server.place = place
    with pytest.raises(OSError, match=r"could not be read|not allowed"):
        fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert len(server.asked) == 1


def test_a_redirection_on_http_is_followed(server, target):
    server.place = "/elsewhere"
    fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_a_full_disk_is_told_from_a_broken_connection(server, target, monkeypatch):
    def full(stream, chunk):
        raise download._DiskError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_write", full)
    with pytest.raises(OSError, match=r"part cannot be written \(No space left .*make room") as got:
        fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert got.value.errno == errno.ENOSPC


def test_a_disk_that_fills_keeps_what_it_took(server, target):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written \(File too large\); 400,000 bytes"):
            fetch(server.url, target, md5=MD5, size=len(CONTENT))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert server.asked == [None, "bytes=400000-"]


def test_a_refusal_of_the_server_names_its_status(server, target):
    server.status = 503
    with pytest.raises(OSError, match="answered 503"):
        fetch(server.url, target, md5=MD5, size=len(CONTENT))


def test_a_dead_address_says_so(server, target):
    server.server_close()
    server.shutdown()
    with pytest.raises(OSError, match=r"could not be read .*0 bytes are kept"):
        fetch(server.url, target, md5=MD5, size=len(CONTENT))


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "cifar.tar.gz", "", "ftp://x/y", "data:,x"]
)
def test_only_http_addresses_are_opened(target, url):
    with pytest.raises(ValueError, match=r"`url` is .*; expected an address"):
        fetch(url, target, md5=MD5, size=len(CONTENT))


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(OSError, match=r"file\.bin\.part cannot be written .*`data_dir`"):
        fetch(server.url, tmp_path / "folder" / "file.bin", md5=MD5, size=len(CONTENT))


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
            fetch(server.url, target, md5=MD5, size=len(CONTENT))
    assert not target.exists()
