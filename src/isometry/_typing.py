"""What a function takes and gives: shapes checked in the test run, arguments checked by sentences.

A parameter of the public interface has a narrow type for editors and type checkers, and none for
the checker of the test run: there our own sentence about a wrong argument has to come first.
"""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol, SupportsIndex, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:  # as jaxtyping defines them, which need not be installed where one only reads
    from typing import Annotated as Bool
    from typing import Annotated as Complex
    from typing import Annotated as Float
    from typing import Annotated as Int
    from typing import Annotated as Num
elif "jaxtyping" in sys.modules:  # the test run's; a user's process need not wait for it
    from jaxtyping import Bool, Complex, Float, Int, Num
else:

    class _Unchecked:
        """Stand in for a jaxtyping type: ``Float[np.ndarray, "n"]`` is ``np.ndarray``."""

        def __class_getitem__(cls, item):
            return item[0]

    Bool = Complex = Float = Int = Num = _Unchecked

T = TypeVar("T")

if TYPE_CHECKING:
    Checked = Annotated[T, "refused in a sentence at run time"]
else:

    class Checked:
        """A parameter that the function itself checks: ``Checked[int]`` lets everything in."""

        def __class_getitem__(cls, item):
            return Annotated[object, item]


class SupportsArray(Protocol):
    """What NumPy can turn into an array without being told how: a tensor, a data frame's column."""

    def __array__(self) -> np.ndarray: ...


class Axes(Protocol):
    """Matplotlib axes, of which nothing more is asked here: `isometry.plotting` checks them."""

    def get_figure(self) -> object: ...


class DrawnLaw(Protocol):
    """A law of lam, as far as it is drawn."""

    def log_support(self) -> tuple[float, float]: ...

    def atoms(self) -> tuple[np.ndarray, np.ndarray]: ...


FloatArray = Float[np.ndarray, "*shape"]
"""A float64 NumPy array of any shape."""

Real: TypeAlias = Checked[float | np.floating[Any] | np.integer[Any]]
"""A real number of any type: what takes it checks it and goes on with a float."""

Integer: TypeAlias = Checked[SupportsIndex]
"""An integer of any type: an int, a NumPy integer."""

Reals: TypeAlias = Checked[
    float
    | np.floating[Any]
    | np.integer[Any]
    | SupportsArray
    | Sequence[float | np.floating[Any] | np.integer[Any]]
    | Sequence[Sequence[float | np.floating[Any] | np.integer[Any]]]
    | Sequence[SupportsArray]
]
"""Real numbers: one, an array of them, or lists."""

ComplexNumbers: TypeAlias = Checked[
    complex | np.number[Any] | SupportsArray | Sequence[complex | np.number[Any]]
]
"""Complex numbers: one, an array of them, or a list."""

Numbers: TypeAlias = FloatArray | Any
"""A float64 array of the shape asked for; a NumPy float where a number was given."""

Function: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""An elementwise function of float64 arrays."""

__all__ = [
    "Axes",
    "Bool",
    "Checked",
    "Complex",
    "ComplexNumbers",
    "DrawnLaw",
    "Float",
    "FloatArray",
    "Function",
    "Int",
    "Integer",
    "Num",
    "Numbers",
    "Real",
    "Reals",
    "SupportsArray",
]
