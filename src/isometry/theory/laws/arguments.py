"""The types and the checks of a law's arguments."""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from isometry._typing import Checked
from isometry.theory.laws.piecewise import Vector

Evaluation: TypeAlias = Checked[Literal["formula", "quadrature"]]
"""How a law computes a number: by its own formula, or by integration of its density."""

ComplexArray = NDArray[np.complex128]


def check_method(method: str, known: tuple[str, ...]) -> None:
    """Refuse an unknown route.

    Raises:
        ValueError: If ``method`` is not among ``known``.
    """
    if method not in known:
        choices = " or ".join(repr(name) for name in known)
        raise ValueError(f"`method` is {method!r}; expected {choices}.")


def as_complex(name: str, value: object) -> ComplexArray:
    """Return ``value`` as a complex array without NaN.

    Raises:
        TypeError: If ``value`` is not numeric.
        ValueError: If it contains NaN.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iufc":
        raise TypeError(f"`{name}` has dtype {array.dtype}; expected numbers.")
    if np.isnan(array).any():
        raise ValueError(f"`{name}` contains NaN; expected complex numbers.")
    return array.astype(np.complex128)


def positive(lam: Vector) -> Vector:
    """Return ``lam`` with what is not positive replaced by the smallest normal number."""
    return lam if lam.size and lam.min() > 0.0 else np.maximum(lam, np.finfo(np.float64).tiny)
