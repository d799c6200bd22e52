import pytest

from isometry.cli import main


def run(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    return stop.value.code, *capsys.readouterr()
