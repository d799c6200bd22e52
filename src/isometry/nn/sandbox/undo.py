"""Changes that are undone whatever ends them: an exception, or Ctrl-C at any line.

A ``with`` statement alone does not promise that. An interrupt on the first line of ``__exit__``,
or inside an ``ExitStack``, leaves what was changed changed. Here every step is registered before
the change it undoes; each step may be taken twice, so that what an interrupt stopped is run again
from the start; and where the interrupt comes before the first line of the undoing, the steps run
when the interrupted ``with`` statement lets go of them.
"""

import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Undo:
    """Steps that put back what is about to be changed, the last first."""

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., object], tuple]] = []

    def before(self, step: Callable[..., object], *args: Any) -> None:
        """Register a step ahead of the change that it undoes; taken twice it must be as once."""
        self._steps.append((step, args))

    def run(self) -> None:
        """Take every step, also where one of them fails; that failure is raised at the end."""
        failure: Exception | None = None
        for step, args in reversed(self._steps):
            try:
                step(*args)
            except Exception as error:
                failure = failure or error
        self._steps = []
        if failure is not None:
            raise failure

    def __del__(self) -> None:
        if not getattr(self, "_steps", None):  # an interrupt came before it was made
            return
        try:
            self.run()
        finally:  # an interrupt in here is only reported, so what it stopped is run again
            self.run()


def _leave(undo: weakref.ref[Undo], *_: object) -> None:
    """Run the steps; a strong reference here would keep them alive in an interrupt's traceback."""
    try:
        _run(undo)
    finally:
        _run(undo)


def _run(undo: weakref.ref[Undo]) -> None:
    steps = undo()
    if steps is not None:
        steps.run()


class _Exit:
    """``__exit__``, bound by the ``with`` statement before it enters: it holds the steps."""

    def __get__(self, manager: "Reversible[Any] | None", owner: type) -> Callable[..., None]:
        if manager is None:
            return _leave_by_hand
        undo = Undo()
        leave = functools.partial(_leave, weakref.ref(undo))
        leave.undo = undo  # pyright: ignore[reportAttributeAccessIssue]
        manager._bound = weakref.ref(undo)
        return leave


def _leave_by_hand(manager: "Reversible[Any]", *_: object) -> None:
    manager._entered.pop().run()


class Reversible(Generic[T]):
    """Context in which something is changed for a while; it may be entered again, and nested."""

    if TYPE_CHECKING:

        def __exit__(self, *exc: object) -> None:
            """Undo the change."""

    else:
        __exit__ = _Exit()

    def __init__(self) -> None:
        self._bound: weakref.ref[Undo] | None = None
        self._entered: list[Undo] = []
        """Steps of an ``ExitStack``, which asks the class for ``__exit__``."""

    def change(self, undo: Undo) -> T:
        """Change what is to be changed, each step of undoing registered first."""
        raise NotImplementedError

    def __enter__(self) -> T:
        undo = None if self._bound is None else self._bound()
        self._bound = None
        by_hand = undo is None
        undo = undo or Undo()
        try:
            try:
                result = self.change(undo)
            except BaseException:
                undo.run()
                raise
        except BaseException:
            undo.run()
            raise
        if by_hand:
            self._entered.append(undo)
        return result


class _Changing(Reversible[T]):
    def __init__(self, change: Callable[[Undo], T]) -> None:
        super().__init__()
        self._change = change

    def change(self, undo: Undo) -> T:
        return self._change(undo)


def reversible(
    change: Callable[Concatenate[Undo, P], T],
) -> Callable[P, Reversible[T]]:
    """Make a context manager of a function that registers every undoing before the change.

    Examples:
        >>> @reversible
        ... def set_to(undo, table, key, value):
        ...     undo.before(table.__setitem__, key, table[key])
        ...     table[key] = value
        >>> table = {"a": 1}
        >>> with set_to(table, "a", 2):
        ...     print(table)
        {'a': 2}
        >>> table
        {'a': 1}
    """

    @functools.wraps(change)
    def manager(*args: P.args, **kwargs: P.kwargs) -> Reversible[T]:
        return _Changing(lambda undo: change(undo, *args, **kwargs))

    return manager
