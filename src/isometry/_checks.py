"""Checks at the public boundary: a sentence that names the argument, what came, what was due."""

import difflib
import math
import operator
from collections.abc import Iterable

import numpy as np

from isometry._typing import FloatArray


def check_real(
    name: str,
    value: object,
    *,
    minimum: float = -math.inf,
    above: float = -math.inf,
    advice: str = "",
) -> float:
    """Return ``value`` as a finite float that is ``>= minimum`` and ``> above``.

    Raises:
        TypeError: If ``value`` is not a real number.
        ValueError: If it is NaN, infinite or out of range.
    """
    hint = f" {advice}" if advice else ""
    expected = "a finite number"
    if above > -math.inf:
        expected += f" > {above:g}"
    elif minimum > -math.inf:
        expected += f" >= {minimum:g}"
    if isinstance(value, (bool, str, bytes)) or np.ndim(value) != 0:  # pyright: ignore[reportArgumentType]
        raise TypeError(f"`{name}` is {value!r}; expected {expected}.{hint}")
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` is {value!r}; expected {expected}.{hint}") from None
    if not math.isfinite(number) or number < minimum or number <= above:
        raise ValueError(f"`{name}` is {number!r}; expected {expected}.{hint}")
    return number


def check_integer(name: str, value: object, *, minimum: int) -> int:
    """Return ``value`` as an ``int`` that is at least ``minimum``.

    Raises:
        TypeError: If ``value`` is not an integer.
        ValueError: If it is smaller than ``minimum``.
    """
    try:
        number = operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise TypeError(f"`{name}` is {value!r}; expected an integer >= {minimum}.") from None
    if isinstance(value, bool) or number < minimum:
        raise ValueError(f"`{name}` is {value!r}; expected an integer >= {minimum}.")
    return number


def check_array(name: str, value: object, *, minimum: float = -math.inf) -> FloatArray:
    """Return ``value`` as a float64 array without NaN, every entry ``>= minimum``.

    Raises:
        TypeError: If ``value`` is not numeric.
        ValueError: If an entry is NaN or too small.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"`{name}` is ragged; expected an array of real numbers.") from None
    if array.dtype.kind not in "iuf" and not (array.size == 0 and array.dtype.kind == "f"):
        raise TypeError(f"`{name}` has dtype {array.dtype}; expected real numbers.")
    array = array.astype(np.float64)
    bound = f" >= {minimum:g}" if minimum > -math.inf else ""
    if np.isnan(array).any():
        raise ValueError(f"`{name}` contains NaN; expected numbers{bound}.")
    if (array < minimum).any():
        raise ValueError(f"`{name}` contains {array.min():g}; expected numbers{bound}.")
    return array


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean ...?"`` for the nearest known name, or an empty string."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
