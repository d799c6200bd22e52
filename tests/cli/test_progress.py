import io
import re
import sys
import types

import pytest

from isometry.cli import progress as module
from isometry.cli.progress import of_runs, progress, time_left


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """Return what a bar puts on a terminal after so many seconds of patience."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    clock = types.SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(module, "time", clock)

    def run(reports, *, terminal=True):
        stream = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        clock.now = 0.0
        with progress("weights") as show:
            for now, (args, more) in reports:
                clock.now = now
                show(*args, **more)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())

    return run


def test_a_bar_with_the_time_left_comes_after_two_seconds(shown):
    text = shown([(1.0, ((1, 8), {})), (3.0, ((2, 8), {}))])
    assert "weights" in text
    assert "2/8" in text
    assert "12 s left" in text  # two seconds for one of eight, and six to come


def test_work_of_less_than_two_seconds_and_a_file_get_nothing(shown):
    assert shown([(0.5, ((1, 8), {})), (1.9, ((8, 8), {}))]) == ""
    assert shown([(3.0, ((1, 8), {})), (9.0, ((8, 8), {}))], terminal=False) == ""


def test_what_is_known_of_the_time_left_is_shown_in_place_of_an_estimate(shown):
    text = shown([(3.0, ((7, 8), {"now": "ladder", "left": 600.0}))])
    assert "ladder" in text
    assert "10 min left" in text


def test_a_sweep_reports_its_own_estimate():
    seen = []
    state = types.SimpleNamespace(done=3, total=9, seconds_left=4.0, task="learning")
    of_runs(lambda *args, **more: seen.append((args, more)))(state)
    assert seen == [((3, 9), {"now": "learning", "left": 4.0})]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1.0, "0 s"), (0.4, "0 s"), (89.0, "89 s"), (120.0, "2 min"), (7200.0, "2.0 h")],
)
def test_a_time_is_said_as_a_person_says_it(seconds, text):
    assert time_left(seconds) == text


def test_the_bar_is_taken_away_after_an_error(shown, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())

    def work():
        with progress("weights") as show:
            module.time.now = 5.0
            show(1, 2)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    written = sys.stderr.getvalue()
    assert "1/2" in written
    assert written.rindex("\x1b[2K") > written.rindex("1/2")  # the line is cleared
