import pytest

from cases_cli import run

CASES = {
    "cumulant gelu": "`--depth` is missing; expected a value for it.",
    "cumulant gelu --dept 3": (
        "`--depth` is missing; expected a value for it. Did you mean it by `--dept`?"
    ),
    "cumulant gelu --depth": "`--depth` stands without a value; expected one behind it.",
    "cumulant --depth 3": "`NAME` is missing; expected a value for it.",
    "cumulant gelu --depth ten": "`--depth` is 'ten'; expected an integer.",
    "cumulant gelu --depth 3.7": "`--depth` is '3.7'; expected an integer.",
    "cumulant gelu --depth 3 --skip big": "`--skip` is 'big'; expected a number.",
    "cumulant gelu --depth 3 --skp 1": "Unknown option: --skp. Did you mean --skip?",
    "diagnose m:f --input x.pt --method dnse": (
        "`--method` is 'dnse'; expected one of 'dense', 'lanczos'. Did you mean 'dense'?"
    ),
}


@pytest.mark.parametrize("words", CASES)
def test_wrong_words_are_one_sentence_that_ends_at_the_command_s_own_help(words, capsys):
    status, printed, noted = run(words, capsys)
    assert (status, printed) == (2, "")
    command = words.split()[0]
    assert noted == f"error: {CASES[words]} Run `isometry {command} --help` for what is expected.\n"


def test_a_wrong_command_points_to_the_help_of_where_it_was_looked_for(capsys):
    assert run("results exprt", capsys)[2].endswith(
        "Run `isometry results --help` for what is expected.\n"
    )
    assert "Run `isometry --help`" in run("dignose", capsys)[2]
