import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from isometry.experiments.engine import locks
from isometry.experiments.engine.locks import claimed


def test_a_claim_is_refused_while_another_one_lives_and_given_afterwards(tmp_path):
    with claimed(tmp_path, "run") as first:
        assert first is not None
        assert first.exists()
        with claimed(tmp_path, "run") as second:
            assert second is None
        with claimed(tmp_path, "other") as third:
            assert third is not None
    with claimed(tmp_path, "run") as again:
        assert again is not None
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_given_back_when_the_run_fails(tmp_path):
    with pytest.raises(KeyError), claimed(tmp_path, "run"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_claim_of_a_killed_process_is_taken_over(tmp_path):
    code = (
        "import pathlib, time; from isometry.experiments.engine.locks import claimed\n"
        f"with claimed(pathlib.Path({str(tmp_path)!r}), 'run'):\n"
        "    print('claimed', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline().strip() == "claimed"
        with claimed(tmp_path, "run") as claim:
            assert claim is None
        child.send_signal(signal.SIGKILL)
        child.wait()
        with claimed(tmp_path, "run") as claim:
            assert claim is not None
            assert [path.name for path in tmp_path.iterdir()] == [claim.name]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


OTHER = {"host": "elsewhere", "pid": 1, "start": "then"}


@pytest.mark.parametrize(
    ("silence", "given"),
    [(0.0, False), (-60.0, False), (2 * locks.PATIENCE, True), (-2 * locks.PATIENCE, True),
     (-86400.0, True), (1e9, True)],
)  # fmt: skip
def test_a_claim_of_another_host_lives_as_long_as_its_heart_beats(tmp_path, silence, given):
    other = tmp_path / "run.other"
    other.write_text(json.dumps(OTHER))
    then = other.stat().st_mtime - silence
    os.utime(other, (then, then))
    with claimed(tmp_path, "run") as claim:
        assert (claim is not None) is given


FOREIGN = {
    "empty": "",
    "half": '{"host"',
    "zeros": "\0" * 80,
    "a list": "[]",
    "null": "null",
    "a word": '"mine"',
    "no host": json.dumps({"pid": 1, "start": "x"}),
    "no process": json.dumps({"host": "x", "start": "x"}),
    "no start": json.dumps({"host": "x", "pid": 1}),
    "a start that is null": json.dumps({"host": "x", "pid": 1, "start": None}),
    "a host that is a number": json.dumps({"host": 1, "pid": 1, "start": "x"}),
    "a process in words": json.dumps({"host": "x", "pid": "1", "start": "x"}),
    "a process that is true": json.dumps({"host": "x", "pid": True, "start": "x"}),
    "a process below zero": json.dumps({"host": "x", "pid": -1, "start": "x"}),
    "nested without end": "[" * 100_000,
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_claim_that_names_no_owner_is_dead(tmp_path, text):
    (tmp_path / "run.foreign").write_text(text)
    with claimed(tmp_path, "run") as claim:
        assert [path.name for path in tmp_path.iterdir()] == [claim.name]


def test_a_folder_in_place_of_a_claim_is_dead(tmp_path):
    (tmp_path / "run.foreign").mkdir()
    (tmp_path / "run.foreign" / "more").touch()
    with claimed(tmp_path, "run") as claim:
        assert [path.name for path in tmp_path.iterdir()] == [claim.name]


def test_a_claim_that_cannot_be_read_is_judged_by_its_age(tmp_path, monkeypatch):
    other = tmp_path / "run.other"
    other.write_text(json.dumps(OTHER))
    read = Path.read_bytes

    def refuse(path):
        if path == other:
            raise PermissionError
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with claimed(tmp_path, "run") as claim:
        assert claim is None
    os.utime(other, (1.0, 1.0))
    with claimed(tmp_path, "run") as claim:
        assert claim is not None


def test_a_claim_that_the_disk_has_no_room_for_leaves_no_file(tmp_path, monkeypatch):
    def full(path, *arguments, **more):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"), claimed(tmp_path, "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_draft_that_a_killed_process_left_is_removed_and_a_fresh_one_is_not(tmp_path):
    for name in ("-other.old", "-other.fresh"):
        (tmp_path / name).touch()
    os.utime(tmp_path / "-other.old", (1.0, 1.0))
    with claimed(tmp_path, "run"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["-other.fresh"]


def without_proc(monkeypatch, system):
    def missing(path, *arguments, **more):
        raise FileNotFoundError(path)

    monkeypatch.setattr("builtins.open", missing)
    monkeypatch.setattr(locks.os.path, "exists", lambda path: False)
    monkeypatch.setattr(locks.os, "name", system)


def test_windows_is_not_asked_by_a_signal_which_is_ctrl_c_there(monkeypatch):
    monkeypatch.setattr(locks.os, "kill", lambda *_: pytest.fail("a signal was sent"))
    with monkeypatch.context() as patched:
        without_proc(patched, "nt")
        start = locks._start(os.getpid())
    assert start == ""


@pytest.mark.parametrize(
    ("answer", "start"),
    [(None, ""), (PermissionError, ""), (ProcessLookupError, None), (OverflowError, None)],
)
def test_other_systems_are_asked_by_signal_0(monkeypatch, answer, start):
    def kill(pid, number):
        assert number == 0
        if answer is not None:
            raise answer

    monkeypatch.setattr(locks.os, "kill", kill)
    with monkeypatch.context() as patched:
        without_proc(patched, "posix")
        found = locks._start(1)
    assert found == start


@pytest.mark.parametrize(("silence", "given"), [(0.0, False), (2 * locks.PATIENCE, True)])
def test_a_process_whose_start_is_not_known_must_beat(tmp_path, monkeypatch, silence, given):
    monkeypatch.setattr(locks, "_start", lambda pid: "")
    other = tmp_path / "run.other"
    other.write_text(json.dumps({"host": locks._host(), "pid": 1, "start": ""}))
    then = other.stat().st_mtime - silence
    os.utime(other, (then, then))
    with claimed(tmp_path, "run") as claim:
        assert (claim is not None) is given


def test_a_new_process_with_an_old_number_is_not_the_owner(tmp_path):
    owner = {"host": locks._host(), "pid": os.getpid(), "start": "another boot"}
    (tmp_path / "run.old").write_text(json.dumps(owner))
    with claimed(tmp_path, "run") as claim:
        assert claim is not None


def test_a_claim_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_BEAT", 0.01)
    with claimed(tmp_path, "run") as claim:
        os.utime(claim, (1.0, 1.0))
        for _ in range(500):
            if claim.stat().st_mtime > 1.0:
                break
            threading.Event().wait(0.01)
        assert claim.stat().st_mtime > 1.0


def test_a_heart_beats_on_after_the_file_server_was_away(tmp_path, monkeypatch):
    calls, utime = [], os.utime

    def away_once(path, *times):
        calls.append(path)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")
        utime(path, *times)

    monkeypatch.setattr(locks, "_BEAT", 0.01)
    with claimed(tmp_path, "run") as claim:
        monkeypatch.setattr(locks.os, "utime", away_once)
        utime(claim, (1.0, 1.0))
        for _ in range(500):
            if claim.stat().st_mtime > 1.0:
                break
            threading.Event().wait(0.01)
        assert claim.stat().st_mtime > 1.0


def test_threads_that_fight_for_a_claim_never_hold_it_together(tmp_path):
    holders, most, guard = [0], [0], threading.Lock()

    def fight():
        for _ in range(20):
            with claimed(tmp_path, "run") as claim:
                if claim is None:
                    continue
                with guard:
                    holders[0] += 1
                    most[0] = max(most[0], holders[0])
                with guard:
                    holders[0] -= 1

    threads = [threading.Thread(target=fight) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert list(tmp_path.iterdir()) == []
