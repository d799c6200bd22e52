import pytest

from isometry.report.files import write_text


def test_a_file_is_written_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_text(path, "new λ\n") == path
    assert path.read_bytes() == "new λ\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/report.html", "file/report.html", "folder"])
def test_a_path_that_cannot_be_written_is_one_clear_sentence(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=rf"`path` is '.*{place}', which cannot be written"):
        write_text(tmp_path / place, "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
