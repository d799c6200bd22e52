import json
import os
import signal
import subprocess
import sys
import threading

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


@pytest.mark.parametrize(("silence", "given"), [(0.0, False), (2 * locks.PATIENCE, True)])
def test_a_claim_of_another_host_lives_as_long_as_its_heart_beats(tmp_path, silence, given):
    other = tmp_path / "run.other"
    other.write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": "then"}))
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
