import errno
import json
import os
import shutil

import pytest

from cases_runs import configs, contents, do_all, product
from isometry.experiments.engine import storage
from isometry.experiments.engine.executors import SerialExecutor
from isometry.experiments.engine.runs import all_runs, find_run, perform
from isometry.experiments.engine.storage import set_aside, writing
from isometry.experiments.engine.sweeps import sweep


def text_of(name, text):
    return lambda place: (place / name).write_text(text)


def bytes_of(name, change):
    def damage(place):
        file = place / name
        file.write_bytes(change(file.read_bytes()))

    return damage


def edited(name, **changes):
    def damage(place):
        record = json.loads((place / name).read_text()) | changes
        (place / name).write_text(json.dumps(record))

    return damage


def without(name):
    return lambda place: (place / name).unlink()


def a_folder_for(name):
    def damage(place):
        (place / name).unlink()
        (place / name).mkdir()

    return damage


def another_run(place):
    others = sorted(path for path in place.parent.iterdir() if path != place)
    shutil.copytree(others[0], place, dirs_exist_ok=True)


def a_file_instead(place):
    shutil.rmtree(place)
    place.write_text("not a folder")


def a_dangling_link(place):
    shutil.rmtree(place)
    place.symlink_to(place.with_name("nowhere"))


def a_link_to_itself(place):
    shutil.rmtree(place)
    place.symlink_to(place)


def emptied(place):
    shutil.rmtree(place)
    place.mkdir()


def a_pipe(place):
    (place / "run.json").unlink()
    os.mkfifo(place / "run.json")


def half(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DEEP = "[" * 100_000 + "]" * 100_000
DAMAGES = {
    "empty record": text_of("run.json", ""),
    "half a record": bytes_of("run.json", half),
    "a record of zeros": bytes_of("run.json", lambda content: bytes(len(content))),
    "no record": without("run.json"),
    "a list for a record": text_of("run.json", "[]"),
    "null for a record": text_of("run.json", "null"),
    "a record without results": text_of("run.json", '{"seconds": 1, "versions": {}}'),
    "results that are a list": edited("run.json", results=[1]),
    "results that are others": edited("run.json", results={"trace": 1.0}),
    "results that are NaN": text_of("run.json", '{"results": {"y": NaN}, "seconds": 1}'),
    "seconds that are a word": edited("run.json", seconds="long"),
    "seconds below zero": edited("run.json", seconds=-1),
    "versions that are a number": edited("run.json", versions=1),
    "digests that are a word": edited("run.json", sha256="none"),
    "a record nested without end": text_of("run.json", DEEP),
    "a record in another encoding": bytes_of("run.json", lambda content: b"\xff\xfe\x00" + content),
    "a folder for a record": a_folder_for("run.json"),
    "a pipe for a record": a_pipe,
    "no config": without("config.json"),
    "empty config": text_of("config.json", ""),
    "half a config": bytes_of("config.json", half),
    "a config with another seed": edited("config.json", seed=7),
    "a config with a seed in words": edited("config.json", seed="0"),
    "a config with a list of settings": edited("config.json", settings=[1]),
    "a config without a task": text_of("config.json", '{"seed": 0, "settings": {}}'),
    "a config of numbers": text_of("config.json", "5"),
    "no arrays": without("arrays.safetensors"),
    "empty arrays": text_of("arrays.safetensors", ""),
    "half the arrays": bytes_of("arrays.safetensors", half),
    "arrays with a bit flipped": bytes_of("arrays.safetensors", flipped),
    "arrays in words": text_of("arrays.safetensors", "words instead of numbers"),
    "a folder for arrays": a_folder_for("arrays.safetensors"),
    "no history": without("history.jsonl"),
    "half a history": bytes_of("history.jsonl", half),
    "a folder for a history": a_folder_for("history.jsonl"),
    "another run's files": another_run,
    "an empty folder": emptied,
    "a file for a folder": a_file_instead,
    "a dangling link": a_dangling_link,
    "a link to itself": a_link_to_itself,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_run_is_named_set_aside_and_made_again(tmp_path, damage):
    do_all(tmp_path, 2, product)
    expected, (config, other) = contents(tmp_path), configs(2)
    place = find_run(tmp_path, config).folder
    damage(place)
    with pytest.warns(UserWarning, match=rf"{config.id} .*; it is left out"):
        assert [run.config for run in all_runs(tmp_path)] == [other]
    with pytest.warns(UserWarning, match=rf"{config.id} .*; it is not taken for a run"):
        assert find_run(tmp_path, config) is None
    with pytest.warns(UserWarning, match=rf"{config.id} .*set aside as .*damaged"):
        report = sweep(configs(2), tmp_path, product, open_executor=SerialExecutor)
    assert (report.made, report.found, report.failed) == (1, 1, {})
    assert list(report.damaged) == [str(place)]
    assert os.path.lexists(tmp_path / ".damaged" / config.task / config.id)
    shutil.rmtree(tmp_path / ".damaged")
    assert contents(tmp_path) == expected


def test_what_is_set_aside_twice_is_kept_twice(tmp_path):
    (config,) = configs(1)
    for _ in range(2):
        perform(tmp_path, config, product)
        (find_run(tmp_path, config).folder / "run.json").write_text("")
        with pytest.warns(UserWarning, match="an empty run.json"):
            perform(tmp_path, config, product)
    kept = sorted(path.name for path in (tmp_path / ".damaged" / config.task).iterdir())
    assert kept == [config.id, f"{config.id}-2"]


def test_a_file_in_place_of_a_task_is_set_aside(tmp_path):
    (config,) = configs(1)
    (tmp_path / config.task).write_text("somebody's notes")
    with pytest.warns(UserWarning, match=r"product is no folder; it was set aside"):
        assert perform(tmp_path, config, product) == "made"
    assert (tmp_path / ".damaged" / config.task).read_text() == "somebody's notes"


@pytest.mark.parametrize("drop", [(), ("sha256",), ("sha256", "not_finite")])
def test_a_run_of_another_version_is_found(tmp_path, drop):
    (config,) = configs(1)
    perform(tmp_path, config, product)
    run = find_run(tmp_path, config)
    record = json.loads((run.folder / "run.json").read_text()) | {"schema": 9, "host": "x"}
    for key in drop:
        del record[key]
    (run.folder / "run.json").write_text(json.dumps(record))
    edited("config.json", schema=9)(run.folder)
    (run.folder / "more.bin").write_bytes(b"of a later version")
    assert perform(tmp_path, config, product) == "found"
    assert find_run(tmp_path, config).results == run.results


@pytest.mark.parametrize("name", ["history.jsonl", "arrays.safetensors"])
def test_a_run_without_digests_is_read_to_be_checked(tmp_path, name):
    (config,) = configs(1)
    perform(tmp_path, config, product)
    place = find_run(tmp_path, config).folder
    edited("run.json", sha256={})(place)
    assert find_run(tmp_path, config) is not None
    bytes_of(name, half)(place)
    with pytest.warns(UserWarning, match=rf"{name} that cannot be read"):
        assert find_run(tmp_path, config) is None


def test_folders_that_are_no_runs_are_passed_over_in_silence(tmp_path):
    do_all(tmp_path, 1, product)
    (tmp_path / "notes" / "today").mkdir(parents=True)
    (tmp_path / "page.html").touch()
    assert len(list(all_runs(tmp_path))) == 1


def test_a_folder_with_a_record_and_a_strange_name_is_named(tmp_path):
    do_all(tmp_path, 1, product)
    place = find_run(tmp_path, configs(1)[0]).folder
    shutil.copytree(place, tmp_path / "copies" / "mine")
    with pytest.warns(UserWarning, match="mine holds the config of another run; it is left out"):
        assert len(list(all_runs(tmp_path))) == 1


def test_what_cannot_be_moved_fails_its_own_run_only(tmp_path, monkeypatch):
    do_all(tmp_path, 1, product)
    place = find_run(tmp_path, configs(1)[0]).folder
    (place / "run.json").write_text("")

    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(storage.os, "rename", refuse)
    with pytest.raises(RuntimeError, match=rf"{place.name} has an empty run.json and cannot be mo"):
        perform(tmp_path, configs(1)[0], product)


def test_a_draft_that_is_a_file_does_not_stop_its_run(tmp_path):
    (config,) = configs(1)
    (tmp_path / ".drafts").mkdir()
    (tmp_path / ".drafts" / config.id).write_text("of a power cut")
    (tmp_path / ".drafts" / f"{config.id}.0123").mkdir()
    assert perform(tmp_path, config, product) == "made"
    assert list((tmp_path / ".drafts").iterdir()) == []


def test_files_are_on_the_disk_before_they_are_renamed(tmp_path, monkeypatch):
    order, fsync, rename = [], os.fsync, os.rename

    def noted_sync(handle):
        order.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def noted_rename(source, target):
        order.append("rename")
        rename(source, target)

    monkeypatch.setattr(storage.os, "fsync", noted_sync)
    monkeypatch.setattr(storage.os, "rename", noted_rename)
    (config,) = configs(1)
    perform(tmp_path, config, product)
    files = {"config.json", "run.json", "history.jsonl", "arrays.safetensors"}
    assert files <= set(order[: order.index("rename")])
    assert order[-1] == config.task


def test_a_sentence_about_the_folder_is_said_once(tmp_path):
    with (
        pytest.raises(OSError, match="inner") as caught,
        writing(tmp_path / "outer"),
        writing(tmp_path / "inner"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "outer" not in str(caught.value)
    assert caught.value.errno == errno.ENOSPC


def test_moving_aside_keeps_the_path_below_the_root(tmp_path):
    (tmp_path / "task" / "x").mkdir(parents=True)
    assert set_aside(tmp_path, tmp_path / "task" / "x") == tmp_path / ".damaged" / "task" / "x"
