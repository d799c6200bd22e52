"""The types and the checks of a law's arguments."""

import math
from collections.abc import Iterable
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from isometry import _words
from isometry._checks import check_integer, shown
from isometry._typing import Checked, Integer
from isometry.theory.laws.piecewise import Vector

Evaluation: TypeAlias = Checked[_words.Evaluation]
"""How a law computes a number: by its own formula, or by integration of its density."""

Lengths: TypeAlias = Checked[Integer | tuple[Integer, ...]]
"""The shape of an array: one length, or a tuple of them."""

Generator: TypeAlias = Checked["np.random.Generator | None"]
"""A source of randomness; without one `np.random.seed` decides."""

ComplexArray = NDArray[np.complex128]

TINY = float(np.finfo(np.float64).tiny)
LARGEST_LOG = math.log(np.finfo(np.float64).max)
"""The smallest normal number of float64, and the logarithm of its largest."""


def check_method(method: object, known: tuple[str, ...]) -> None:
    """Refuse an unknown route.

    Raises:
        ValueError: If ``method`` is not among ``known``.
    """
    if not isinstance(method, str) or method not in known:
        choices = " or ".join(repr(name) for name in known)
        raise ValueError(f"`method` is {shown(method)}; expected {choices}.")


def as_complex(name: str, value: object) -> ComplexArray:
    """Return ``value`` as a complex array of finite numbers.

    Raises:
        TypeError: If ``value`` is not numeric.
        ValueError: If it contains NaN or infinity.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"`{name}` is ragged; expected an array of complex numbers.") from None
    if array.dtype.kind not in "iufc":
        raise TypeError(f"`{name}` has dtype {array.dtype}; expected numbers.")
    if np.isnan(array).any():
        raise ValueError(f"`{name}` contains NaN; expected complex numbers.")
    with np.errstate(over="ignore"):
        array = array.astype(np.complex128)
    if np.isinf(array).any():
        raise ValueError(f"`{name}` contains an infinite number; expected finite ones.")
    return array


def check_shape(shape: object) -> tuple[int, ...]:
    """Return the shape of an array as a tuple.

    Raises:
        TypeError: If it is not made of integers.
    """
    several = isinstance(shape, Iterable)
    entries = tuple(cast(Iterable[object], shape)) if several else (shape,)
    if isinstance(shape, (str, bytes)) or len(entries) > 64:
        raise TypeError(f"`shape` is {shown(shape)}; expected integers >= 0.")
    return tuple(check_integer("shape", entry, minimum=0) for entry in entries)


def within_range(name: str, answer: Any) -> NDArray[Any]:
    """Return ``answer`` as an array, all of it finite.

    Raises:
        ValueError: If an entry is not, naming the argument that led there.
    """
    answer = np.asarray(answer)
    bad = int(answer.size - np.isfinite(answer).sum())
    if bad:
        raise ValueError(
            f"`{name}` leads out of float64's range at {bad} of {answer.size} points; expected "
            "answers below 1.8e308. Move it, or rescale the law."
        )
    return answer


def positive(lam: Vector) -> Vector:
    """Return ``lam`` with what is not positive replaced by the smallest normal number."""
    return lam if lam.size and lam.min() > 0.0 else np.where(lam > 0.0, lam, TINY)
