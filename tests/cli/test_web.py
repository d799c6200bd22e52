import os
import re
import signal
import subprocess
import sys
import urllib.request
from functools import partial

from cases_cli import run
from isometry.web.page import explorer_page


def test_the_page_is_written_without_torch(tmp_path, capsys):
    path = tmp_path / "explorer.html"
    status, printed, complaint = run(f"web --write {path}", capsys)
    assert (status, printed) == (0, "")
    assert complaint == f"written: {path}\n"
    assert path.read_text() == explorer_page()
    code = "import sys, isometry.web; print({'torch', 'numpy.ma', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    status, _, complaint = run(f"web --write {tmp_path}/no/explorer.html", capsys)
    assert status == 2
    assert "`--write`" in complaint
    status, _, complaint = run(f"web --write {tmp_path}/explorer.txt", capsys)
    assert status == 2
    assert "ends in .html" in complaint


def test_a_wrong_port_is_one_sentence(capsys):
    status, _, complaint = run("web --port 70000", capsys)
    assert status == 2
    assert "`--port` is 70000" in complaint


def test_it_serves_until_it_is_stopped():
    command = [sys.executable, "-m", "isometry", "web"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell has what it runs in the background ignore Ctrl-C, and children inherit that.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, text=True, env=os.environ, preexec_fn=heard, **pipes) as process:
        try:
            address = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert answer.read().decode() == explorer_page()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 0
            assert "stopped" in process.stderr.read()
        finally:
            process.kill()
