import io
import itertools
import json
import re
import time
import types

import pytest
from rich.console import Console

from cases_cli import run
from isometry.cli import main
from isometry.cli.watch import files, line, measurements, shown
from isometry.nn.scale.training.adapters import jsonl_log


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    log = jsonl_log("runs/first/monitor.jsonl")
    for step, c in enumerate((0.5, 0.75, 2.0)):
        log({"jacobian/c": c}, 10 * step)
    return tmp_path


def test_what_was_measured_is_shown_once(folder, capsys):
    status, printed, _ = run("watch --once", capsys)
    assert status == 0
    assert re.search(r"runs/first/monitor.jsonl: step 20, \d+ s ago, 3 measurements", printed)
    row = next(text for text in printed.splitlines() if "jacobian/c" in text)
    assert row.split() == ["jacobian/c", "0.5", "2", "▁▂█"]


def test_a_line_that_is_being_written_is_passed_over_until_it_is_whole(folder):
    path = folder / "runs/first/monitor.jsonl"
    whole = json.dumps({"step": 30, "jacobian/c": 4.0}) + "\n"
    for cut in range(1, len(whole) - 1):
        with open(path, "a") as stream:
            stream.write(whole[:cut])
        known = measurements(path)
        assert [row["step"] for row in known[:3]] == [0, 10, 20]
        assert len(known) == (4 if cut == len(whole) - 1 else 3), cut
        path.write_text(path.read_text()[:-cut])
    with open(path, "a") as stream:
        stream.write(whole)
    assert measurements(path)[-1] == {"step": 30, "jacobian/c": 4.0}


def test_lines_of_other_things_are_passed_over(folder):
    path = folder / "runs/first/monitor.jsonl"
    path.write_text('[1]\n{"loss": 2}\n\xff\n{"step": "a"}\n{"step": 1, "c": 2.0}\n')
    assert measurements(path) == [{"step": 1, "c": 2.0}]


def test_json_holds_the_measurements_by_file(folder, capsys):
    rows = json.loads(run("watch runs --json", capsys)[1])["measurements"][
        "runs/first/monitor.jsonl"
    ]
    assert [row["jacobian/c"] for row in rows] == [0.5, 0.75, 2.0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("watch no", "`PLACES` is no; expected an existing file or folder."),
        ("watch empty", "`PLACES` is empty, where no monitor has written"),
        ("watch runs --every 0", "`--every` is 0; expected seconds > 0."),
    ],
)
def test_a_wrong_place_is_one_sentence(words, message, folder, capsys):
    (folder / "empty").mkdir()
    status, printed, complaint = run(words, capsys)
    assert (status, printed) == (2, "")
    assert message in complaint


def test_on_a_terminal_the_view_follows_the_file(folder, monkeypatch):
    """Two looks, between which another measurement comes, then the keyboard."""
    log, looks = jsonl_log("runs/first/monitor.jsonl"), itertools.count()

    def sleep(seconds):
        if next(looks) == 1:
            raise KeyboardInterrupt
        log({"jacobian/c": 7.25}, 30)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    clock = types.SimpleNamespace(sleep=sleep, time=time.time)
    monkeypatch.setattr("isometry.cli.watch.time", clock)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(SystemExit) as stop:
        main(["watch"])
    assert stop.value.code == 130
    printed = terminal.getvalue()
    assert printed.index("step 20") < printed.index("step 30") < printed.rindex("7.25")


def test_several_runs_have_a_table_each(folder):
    jsonl_log("runs/second.jsonl")({"s_max": 3.0}, 7)
    found = {path: measurements(path) for path in files([folder / "runs"])}
    console = Console(width=120)
    with console.capture() as captured:
        console.print(shown(found, time.time()))
    assert "first/monitor.jsonl: step 20" in captured.get()
    assert "second.jsonl: step 7" in captured.get()


def test_numbers_become_bars_from_the_least_to_the_largest():
    assert line([0.0, 7.0, 3.0]) == "▁█▄"
    assert line([2.0, 2.0]) == "▁▁"
    assert len(line([float(n) for n in range(100)])) == 32
