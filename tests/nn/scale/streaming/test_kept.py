import pytest

from cases_streaming import passed
from isometry.nn.scale.streaming.kept import Kept

REQUEST = {"model": "a", "seed": 0}


def test_a_layer_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    kept = Kept(tmp_path, REQUEST)
    assert kept.read(0) is None
    monkeypatch.setattr("os.rename", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kept.write(0, passed())
    assert kept.read(0) is None
    monkeypatch.undo()
    Kept(tmp_path, REQUEST).write(0, passed())
    assert Kept(tmp_path, REQUEST).read(0).name == "h.0"


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="holds other files"):
        Kept(tmp_path, REQUEST)


def test_a_folder_of_another_run_is_refused(tmp_path):
    Kept(tmp_path, REQUEST)
    with pytest.raises(ValueError, match="a run of another seed"):
        Kept(tmp_path, REQUEST | {"seed": 1})
    (tmp_path / "request.json").write_text("[")
    with pytest.raises(ValueError, match="a run of something else"):
        Kept(tmp_path, REQUEST)


def test_a_damaged_layer_is_named_and_measured_again_once_deleted(tmp_path):
    kept = Kept(tmp_path, REQUEST)
    kept.write(0, passed())
    (tmp_path / "0000" / "output.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"0000 that cannot be read .* Delete that folder"):
        kept.read(0)
