import contextlib
import sys

import pytest

from isometry.nn.sandbox.undo import Undo, reversible


@reversible
def set_to(undo, table, key, value):
    undo.before(table.__setitem__, key, table[key])
    table[key] = value
    return table


def interrupted(action, at, part="undo.py"):
    """Run an action with Ctrl-C at its ``at``-th line in files with ``part``; count the lines."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if part not in frame.f_code.co_filename:
            return None
        if event == "line":
            count += 1
            if count == at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            action()
    finally:
        sys.settrace(before)
    return count


# Python itself reports an interrupt inside __del__, where nothing is left to be done.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_line_undoes_every_change():
    def use():
        with set_to(table, "a", 2), set_to(table, "b", 3):
            assert table == {"a": 2, "b": 3}

    table = {"a": 1, "b": 1}
    lines = interrupted(use, at=10**6)
    assert lines > 20
    for line in range(1, lines + 1):
        interrupted(use, line)
        assert table == {"a": 1, "b": 1}, line


def test_a_failing_step_does_not_keep_the_others_from_running():
    undo, table = Undo(), {"a": 1}
    undo.before(table.__setitem__, "a", 0)
    undo.before(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        undo.run()
    assert table == {"a": 0}
    undo.run()


def test_a_change_that_fails_half_way_is_undone():
    @reversible
    def half(undo, table):
        undo.before(table.pop, "a", None)
        table["a"] = 1
        raise ValueError("half way")

    table = {}
    with pytest.raises(ValueError, match="half way"), half(table):
        pass
    assert table == {}


def test_an_exit_stack_undoes_too():
    table = {"a": 1}
    with contextlib.ExitStack() as stack:
        assert stack.enter_context(set_to(table, "a", 2)) == {"a": 2}
    assert table == {"a": 1}
