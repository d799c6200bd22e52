import pytest

from isometry.nn.sandbox.reporting import report, reporting


def test_only_who_waits_is_told():
    told = []
    report(1, 3)
    with reporting(lambda done, total: told.append((done, total))):
        report(2, 3)
        with reporting(None):
            report(9, 9)
    report(3, 3)
    assert told == [(2, 3)]


def test_nobody_waits_after_an_error():
    told = []
    with pytest.raises(KeyError), reporting(lambda *numbers: told.append(numbers)):
        raise KeyError
    report(1, 1)
    assert told == []
