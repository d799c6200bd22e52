import json

import pytest

from cases_cli import run
from cases_schema import check_schema, everything, problems

COMMANDS = {
    "law": "law --c 1",
    "law of a width": "law --c 1 --width 64",
    "cumulant": "cumulant gelu --depth 10",
    "cumulant without a law": "cumulant gelu --depth 10 --skip 0",
    "sigma-w": "sigma-w tanh --depth 10",
    "activations": "activations",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_of_numbers_prints_follows_its_schema(name, capsys):
    code, out, _ = run(f"{COMMANDS[name]} --json", capsys)
    assert code == 0
    record = json.loads(out)
    check_schema(record)
    known = everything()["$defs"]
    kind = record["schema"].split("/")[1]
    key = next(key for key in record if key != "schema")
    assert problems(record | {key: {"other": 1}}, known[kind], known)


def test_what_is_not_there_is_left_out_of_the_table(capsys):
    out = run("law --c 1", capsys)[1]
    assert "None" not in out
    assert "s_from" not in out
    assert "s_from" in run("law --c 1 --width 64", capsys)[1]


def test_watched_measurements_follow_their_schema(tmp_path, capsys):
    (tmp_path / "m.jsonl").write_text('{"step": 3, "c": 1.0}\n')
    record = json.loads(run(f"watch {tmp_path} --json", capsys)[1])
    check_schema(record)
    assert record["measurements"] == {str(tmp_path / "m.jsonl"): [{"step": 3, "c": 1.0}]}
