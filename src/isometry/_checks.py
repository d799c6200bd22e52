"""Checks at the public boundary: a sentence that names the argument, what came, what was due."""

import difflib
import math
import operator
import sys
from collections.abc import Iterable
from typing import TypeVar, cast

import numpy as np

from isometry._typing import FloatArray

T = TypeVar("T")
_NO_NUMBERS: tuple[type, ...] = (bool, np.bool_, str, bytes)
_LONGEST = 40  # characters of a value that a message repeats


def shown(value: object) -> str:
    """Return what a message calls ``value``: its text if that is short, otherwise its kind."""
    shape: object = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"an array of shape {tuple(cast(Iterable[object], shape))}"
    if isinstance(value, (str, bytes)) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]!r}..."
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a foreign object may fail to print itself
        text = ""
    short = 0 < len(text) <= 2 * _LONGEST
    return text if short else f"an object of type {type(value).__name__}"


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
    try:
        no_number = isinstance(value, _NO_NUMBERS) or _is_masked(value)
        if no_number or np.ndim(value) != 0:  # pyright: ignore[reportArgumentType]
            raise TypeError
        with np.errstate(over="ignore"):  # of numbers longer than float64
            number = float(value)  # pyright: ignore[reportArgumentType]
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError, RuntimeError):  # not a number, ragged, or a foreign refusal
        raise TypeError(f"`{name}` is {shown(value)}; expected {expected}.{hint}") from None
    if not math.isfinite(number) or number < minimum or number <= above:
        raise ValueError(f"`{name}` is {number!r}; expected {expected}.{hint}")
    return number


def check_integer(name: str, value: object, *, minimum: int, maximum: int | None = None) -> int:
    """Return ``value`` as an ``int`` that is at least ``minimum`` and at most ``maximum``.

    Raises:
        TypeError: If ``value`` is not an integer.
        ValueError: If it is out of range.
    """
    expected = f"an integer >= {minimum}" + ("" if maximum is None else f" and <= {maximum}")
    try:
        number = operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise TypeError(f"`{name}` is {shown(value)}; expected {expected}.") from None
    too_large = maximum is not None and number > maximum
    if isinstance(value, bool) or number < minimum or too_large:
        raise ValueError(f"`{name}` is {shown(value)}; expected {expected}.")
    return number


def check_count(name: str, value: object) -> int | None:
    """Return a count of at least 1, or ``None`` for ``"auto"``, which leaves it to the function.

    Raises:
        TypeError: If ``value`` is neither an integer nor ``"auto"``.
        ValueError: If it is smaller than 1.
    """
    if isinstance(value, str) and value == "auto":
        return None
    try:
        operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        expected = 'an integer >= 1, or "auto", which follows the size'
        raise TypeError(f"`{name}` is {shown(value)}; expected {expected}.") from None
    return check_integer(name, value, minimum=1)


def check_array(name: str, value: object, *, minimum: float = -math.inf) -> FloatArray:
    """Return ``value`` as a float64 array without NaN, every entry ``>= minimum``.

    Raises:
        TypeError: If ``value`` is not numeric.
        ValueError: If an entry is NaN or too small.
    """
    if _is_masked(value):
        raise TypeError(f"`{name}` is masked; expected real numbers. Fill or drop masked entries.")
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"`{name}` is ragged; expected an array of real numbers.") from None
    except Exception:  # a tensor that needs a gradient, or lives on a device, refuses
        raise TypeError(
            f"`{name}` is {shown(value)} that NumPy cannot read; expected real numbers. "
            "Pass a NumPy array."
        ) from None
    if array.dtype.kind not in "iuf" and not (array.size == 0 and array.dtype.kind == "f"):
        raise TypeError(f"`{name}` has dtype {array.dtype}; expected real numbers.")
    with np.errstate(over="ignore"):  # of numbers longer than float64
        array = array.astype(np.float64)
    bound = f" >= {minimum:g}" if minimum > -math.inf else ""
    if np.isnan(array).any():
        raise ValueError(f"`{name}` contains NaN; expected numbers{bound}.")
    if (array < minimum).any():
        raise ValueError(f"`{name}` contains {array.min():g}; expected numbers{bound}.")
    return array


def check_rng(rng: object) -> "np.random.Generator":  # NumPy loads it when it is asked for
    """Return the generator, or a new one whose seed is drawn from NumPy's global generator.

    So ``np.random.seed`` decides, and that one draw is all that moves.

    Raises:
        TypeError: If it is something else.
    """
    if rng is None:
        words = np.random.randint(2**32, size=4, dtype=np.uint32)  # noqa: NPY002 (the user's own)
        return np.random.default_rng(words)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"`rng` is {shown(rng)}; expected a numpy.random.Generator. "
            "Pass numpy.random.default_rng(seed)."
        )
    return rng


def _is_masked(value: object) -> bool:
    """Return whether entries are masked; who masks has loaded NumPy's module for it."""
    return "numpy.ma" in sys.modules and bool(np.ma.is_masked(value))


def check_kind(name: str, value: object, kind: type[T], expected: str) -> T:
    """Return ``value`` if it is a ``kind``.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(value, kind):
        raise TypeError(f"`{name}` is a {type(value).__name__}; expected {expected}.")
    return value


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean ...?"`` for the nearest known name, or an empty string."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
