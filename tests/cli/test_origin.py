from cases_cli import run
from isometry.cli.origin import origin, remember


def test_the_origin_is_the_line_that_was_typed():
    remember(["lint", "my module:make", "--html", "out.html"])
    made = origin(seed=3)
    assert made.commands == ["isometry lint 'my module:make' --html out.html"]
    assert made.facts == {"seed": 3}


def test_the_command_line_remembers_itself(capsys):
    run("law --c 1 --debug", capsys)
    assert origin().commands == ["isometry law --c 1"]
