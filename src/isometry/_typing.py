"""Shape-carrying array types: checked in the test run, plain classes where jaxtyping is absent."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Complex, Float, Int, Num
else:
    try:
        from jaxtyping import Bool, Complex, Float, Int, Num
    except ImportError:

        class _Unchecked:
            """Stand in for a jaxtyping type: ``Float[np.ndarray, "n"]`` is ``np.ndarray``."""

            def __class_getitem__(cls, item):
                return item[0]

        Bool = Complex = Float = Int = Num = _Unchecked

FloatArray = Float[np.ndarray, "*shape"]
"""A float64 NumPy array of any shape."""

Real = float | Any
"""A real number of any type: what takes it checks it and goes on with a float."""

__all__ = ["Bool", "Complex", "Float", "FloatArray", "Int", "Num", "Real"]
