import json
import os
import subprocess
import sys
import warnings

import pytest

from isometry.cli.output import check_folder, check_place, complain, emit, guarded, json_text


def raising(error):
    def command():
        raise error

    return command


def test_json_is_strict():
    text = json_text({"a": float("inf"), "b": [float("nan"), 1.0], "c": {"d": -float("inf")}})
    assert json.loads(text) == {"a": "inf", "b": ["nan", 1.0], "c": {"d": "-inf"}}


def test_a_record_is_a_table_of_scalars_and_its_rows_or_json(capsys):
    record = {"c": 1.0, "rows": [{"layer": 1}, {"layer": 2}]}
    emit(record, as_json=False, tables=["rows"])
    printed = capsys.readouterr().out
    assert printed.index("c") < printed.index("layer")
    emit(record, as_json=True, tables=["rows"])
    assert json.loads(capsys.readouterr().out) == record


def test_a_complaint_is_one_line(capsys):
    complain("error", "two\n  lines")
    assert capsys.readouterr().err == "error: two lines\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("`c` is 0"), 2),
        (FileNotFoundError("no file"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_status_says_whose_fault_it_was(error, status, capsys, monkeypatch):
    monkeypatch.setattr("isometry.cli.output.in_own_code", lambda _: False)
    assert guarded(raising(error)) == status
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_user_s_own_code_is_status_three_with_its_file_and_line(capsys):
    assert guarded(raising(KeyError("blimey"))) == 3
    noted = capsys.readouterr().err
    assert "KeyError: 'blimey' (test_output.py, line 14, in command)" in noted
    assert "--debug" in noted


def test_debug_prints_the_traceback_as_well(capsys):
    assert guarded(raising(KeyError("blimey")), debug=True) == 3
    noted = capsys.readouterr().err
    assert "Traceback (most recent call last)" in noted
    assert noted.splitlines()[-1].startswith("error: the model failed")


def test_a_defect_of_ours_has_its_own_status_and_traceback(capsys, monkeypatch):
    monkeypatch.setattr("isometry.cli.output.in_own_code", lambda _: False)
    assert guarded(raising(AssertionError("impossible"))) == 70
    noted = capsys.readouterr().err
    assert "Traceback" in noted
    assert "defect of isometry" in noted


def test_a_command_that_returns_a_status_ends_with_it():
    assert guarded(lambda: 1) == 1
    assert guarded(lambda: None) == 0
    assert guarded(lambda: "a result") == 0


def test_a_warning_is_one_line_and_said_once(capsys):
    def command():
        for _ in range(3):
            warnings.warn("`num_probes` is small", UserWarning, stacklevel=1)

    assert guarded(command, options={"num_probes": "--num-probes"}) == 0
    assert capsys.readouterr().err == "warning: `--num-probes` is small\n"


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    check_place("--save", None, ".html")
    check_place("--html", tmp_path / "a.html", ".html")
    with pytest.raises(FileNotFoundError, match=r"`--html` is .*mkdir -p"):
        check_place("--html", tmp_path / "no" / "a.html")
    with pytest.raises(ValueError, match=r"`--save` is .*ends in \.safetensors"):
        check_place("--save", tmp_path / "a.pt", ".safetensors")
    with pytest.raises(ValueError, match="a directory; expected a file"):
        check_place("--html", tmp_path)


def test_a_folder_may_be_made_anywhere_but_inside_a_file(tmp_path):
    check_folder("--publish", None)
    check_folder("--publish", tmp_path)
    check_folder("--publish", tmp_path / "deep" / "er")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "in"):
        with pytest.raises(ValueError, match=r"`--publish` is .*; expected a folder, but"):
            check_folder("--publish", place)


def test_a_reader_that_has_enough_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    code = "from isometry.cli import main; main(['activations'])"
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
